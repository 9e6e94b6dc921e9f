"""Language to Rewards: calls become terms, faults go back as text, corrections keep the history."""

from __future__ import annotations

import math

import numpy as np
import pytest

from embodied.core.chat import Completion
from embodied.core.errors import ConfigError, RewardCodeError, UnknownNameError
from embodied.core.reward import RewardProgram
from embodied.rewards.language_to_rewards import END, START, Conversation, check_description, prompt
from embodied.rewards.motion_code import run_motion_code
from embodied.rewards.motion_terms import NORMS, MotionTerm, program_source
from embodied.rewards.quadruped_motion import FEET, QuadrupedMotion
from embodied.sandbox.call_check import check_calls
from embodied.sandbox.static_check import check_source
from embodied.sim.batch_env import BatchEnv
from embodied.sim.quadruped.base import QuadrupedTask

SIT = "reset_reward()\nset_torso_targets(0.12, 0, 0, (0, 0), None, 0, None)\nexecute_plan()\n"


class Standing(QuadrupedTask):
    name = "standing"

    def success(self, world):
        return world.torso.position[..., 2] > 0.2


@pytest.fixture(scope="module")
def task():
    return Standing(instruction="Stand.")


@pytest.fixture(scope="module")
def worlds(task):
    env = BatchEnv(task, n_envs=16, seed=0)
    env.reset()
    for k in range(5):
        step = env.step(np.sin(np.arange(16 * 12) + k).reshape(16, 12) * 0.3)
    return step.world, step.action


def bound(source):
    return RewardProgram(source, "language_to_rewards", "standing", evaluation="batched").bind(reviewed=True)


def full_motion():
    motion = QuadrupedMotion()
    motion.set_torso_targets(0.3, 0.1, -0.2, None, (0.5, 0.1), None, 1.5)
    motion.set_foot_pos_parameters("rear_left", 0.1, 0.05, 0.02)
    for foot in FEET[:2]:
        motion.set_foot_stepping_parameters(foot, 2.0, 0.5, 0.25, 0.06, 0.1, True)
    motion.execute_plan()
    return motion


@pytest.mark.parametrize("norm", NORMS)
def test_norms_are_zero_at_zero_and_grow(norm):
    scope: dict = {}
    exec(program_source([MotionTerm("a", "world.x", 1.0, norm)]), scope)
    values = scope[norm](np.array([[0.0], [0.1], [-0.2], [0.5]]), 0.05)
    assert values[0] == pytest.approx(0.0)
    assert (np.diff(values) > 0).all()


def test_every_program_passes_the_check_and_equals_row_by_row(task, worlds):
    source = full_motion().source("title")
    result = check_source(source, task.schema)
    assert result.ok, str(result)
    world, action = worlds
    total, terms = bound(source)(world, action)
    rows = [bound(source)(world.rows(slice(i, i + 1)), action[i : i + 1])[0][0] for i in range(16)]
    np.testing.assert_allclose(total, rows, rtol=1e-12)
    expected = {"torso_height", "torso_pitch", "torso_roll", "torso_turning_speed", "torso_velocity", "back_left_lift"}
    assert expected < set(terms)
    assert all((value <= 1e-12).all() for value in terms.values())


@pytest.mark.parametrize(
    ("call", "path", "target"),
    [
        ({"target_torso_height": 0.9}, "torso.position", 0.9),
        ({"target_torso_pitch": 1.0}, "torso.pitch", 1.0),
        ({"target_torso_roll": 1.0}, "torso.roll", 1.0),
        ({"target_torso_heading": 1.0}, "torso.heading", 1.0),
    ],
)
def test_a_torso_target_pays_more_the_nearer(worlds, call, path, target):
    """Roll and heading count by how level the nose is: neither is defined where it points straight up."""
    motion = QuadrupedMotion()
    motion.set_torso_targets(**call)
    motion.execute_plan()
    world, action = worlds
    (name,) = [n for n in ("torso_height", "torso_pitch", "torso_roll", "torso_heading") if n in motion.source()]
    value = world.quantity(path)
    away = np.abs((value[..., 2] if value.ndim == 2 else value) - target)
    if path in ("torso.roll", "torso.heading"):
        away = np.cos(world.quantity("torso.pitch")) * np.minimum(away, 2 * np.pi - away)
    terms = bound(motion.source())(world, action)[1]
    assert (np.diff(terms[name][np.argsort(-away)]) >= -1e-9).all()


def test_heading_and_roll_wrap(worlds):
    world, action = worlds
    totals = []
    for turn in (0.3, 0.3 - 2 * math.pi):
        motion = QuadrupedMotion()
        motion.set_torso_targets(target_torso_heading=turn, target_torso_roll=turn)
        motion.execute_plan()
        totals.append(bound(motion.source())(world, action)[0])
    np.testing.assert_allclose(*totals, atol=1e-5)


@pytest.mark.parametrize(
    ("script", "line", "words"),
    [
        ("set_torso_targets(0.2, 0, 0, (0, 0), (1, 0), None, None)\nexecute_plan()", 1, ["one must be None"]),
        ("set_torso_targets(0.2, 0, 0, None, None, 1.0, 1.0)\nexecute_plan()", 1, ["one must be None"]),
        ("reset_reward()\nset_torso_targets(height=0.2)", 2, ["height"]),
        ("set_torso_targets(7.0)\nexecute_plan()", 1, ["7", "[0, 1]"]),
        ("set_foot_pos_parameters('tail', 0.1)\nexecute_plan()", 1, ["tail", "front_left"]),
        ("set_foot_stepping_parameters('front_left', 9.0)", 1, ["stepping_frequency", "[0, 3]"]),
        ("set_torso_targets('low')", 1, ["must be a number"]),
        ("set_torso_targets(0.2)", None, ["execute_plan"]),
        ("reset_rewards()", 1, ["Did you mean 'reset_reward'"]),
        ("import os\nexecute_plan()", 1, ["numpy and math"]),
        ("execute_plan()\nopen('/etc/passwd')", 2, ["unknown name 'open'"]),
        ("execute_plan.__globals__", 1, ["not allowed"]),
        ("x = (1).__class__", 1, ["not allowed"]),
        ("while True: pass", 1, ["while"]),
        ("execute_plan = 3", 1, ["choose another name"]),
        ("set_torso_targets(1 / 0)", 1, ["ZeroDivisionError"]),
        ("reset_reward(", 1, ["not valid Python"]),
    ],
)
def test_faults_name_their_line(script, line, words):
    with pytest.raises(RewardCodeError) as caught:
        run_motion_code(script, "quadruped")
    assert caught.value.line == line
    for word in words:
        assert word in caught.value.message


def test_a_script_may_compute_and_loop():
    script = """
import numpy as np
reset_reward()
set_torso_targets(0.26, np.deg2rad(10), 0, (0, 0), None, np.pi / 2, None)
for foot in ['front_left', 'back_right']:
    set_foot_pos_parameters(foot, 0.1, None, None)
execute_plan(2)
"""
    source = run_motion_code(script, "quadruped", title="Lift two paws")
    assert "front_left_lift" in source
    assert "back_right_lift" in source
    assert "0.174533" in source


def test_an_endless_script_is_stopped(monkeypatch):
    monkeypatch.setattr("embodied.rewards.motion_code.DEADLINE_S", 1.0)
    with pytest.raises(RewardCodeError, match="stopped"):
        run_motion_code("for i in range(10**12):\n    pass\nexecute_plan()", "quadruped")


class Scripted:
    """Gives answers in order and keeps what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def complete(self, messages, n=1, temperature=0.0, max_tokens=4096):
        self.asked.append(list(messages))
        return [Completion(self.answers.pop(0), "scripted")]


def described(height):
    return f"{START}\n* The torso of the robot should be {height} meters above the ground.\n{END}"


def coded(height):
    return f"```python\nset_torso_targets({height}, 0, 0, (0, 0), None, 0, None)\nexecute_plan()\n```"


def test_a_conversation_keeps_the_descriptions_and_the_coder_sees_one_alone():
    chat = Scripted(described(0.12), coded(0.12), described(0.2), coded(0.2))
    talk = Conversation(chat, "quadruped", "standing")
    first, second = talk.say("Sit down."), talk.say("A bit higher.")
    assert "- 0.12" in first.program.source
    assert "- 0.2)" in second.program.source
    descriptor, coder = chat.asked[2], chat.asked[3]
    assert [m.content for m in descriptor[1:]] == ["Sit down.", described(0.12), "A bit higher."]
    assert [m.role for m in coder] == ["system", "user"]
    assert coder[1].content == described(0.2)
    assert talk.undo() is first
    assert talk.undo() is None


def test_faults_go_back_as_text_and_are_bounded():
    unfilled = described("NUM(0.26)")
    bad = "```python\nset_torso_targets(0.2, 0, 0, (0, 0), (0, 0), 0, None)\nexecute_plan()\n```"
    chat = Scripted(unfilled, described(0.2), bad, coded(0.2))
    turn = Conversation(chat, "quadruped", "standing").say("Sit.")
    assert turn.repairs == 2
    assert "NUM is not filled" in chat.asked[1][-1].content
    assert "one must be None" in chat.asked[3][-1].content
    hopeless = Conversation(Scripted(*[unfilled] * 9), "quadruped", "standing", max_repairs=2)
    with pytest.raises(RewardCodeError, match="after 3"):
        hopeless.say("Sit.")
    assert hopeless.turns == []


def test_coder_only_sees_the_instructions():
    chat = Scripted(coded(0.12), coded(0.2))
    talk = Conversation(chat, "quadruped", "standing", coder_only=True)
    talk.say("Sit down.")
    talk.say("Higher.")
    assert [m.content for m in chat.asked[1][1::2]] == ["Sit down.", "Higher."]
    assert "set_foot_pos_parameters" in chat.asked[0][0].content
    assert "description" not in chat.asked[0][0].content.partition("Rules:")[2]


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        (described(0.2), "length", "cut off"),
        ("Sure! The torso is low.", "stop", "between the lines"),
        (f"{START}\n[* The front left foot should be lifted to 0.1 meters.]\n{END}", "stop", "brackets"),
        (f"{START}\n* The torso should CHOICE(face|turn at) east.\n{END}", "stop", "CHOICE"),
    ],
)
def test_descriptions_are_checked(text, reason, words):
    with pytest.raises(RewardCodeError, match=words):
        check_description(text, reason)


def test_the_prompts_describe_the_api_that_exists():
    for name, function in QuadrupedMotion().calls().items():
        text = prompt("quadruped_coder")
        assert f"def {name}(" in text
        listed = text.partition(f"def {name}(")[2].partition(")")[0]
        names = [part.partition("=")[0].strip() for part in listed.split(",") if part.strip()]
        code = function.__func__.__code__
        assert names == list(code.co_varnames[1 : code.co_argcount])


def test_unknown_morphologies_and_settings_are_refused():
    with pytest.raises(UnknownNameError, match="quadruped"):
        Conversation(Scripted(), "quadrupde", "standing")
    with pytest.raises(ConfigError, match="max_repairs"):
        Conversation(Scripted(), "quadruped", "standing", max_repairs=-1)
    with pytest.raises(RewardCodeError, match="names"):
        program_source([MotionTerm("a", "x", 1.0), MotionTerm("a", "x", 1.0)])
    with pytest.raises(RewardCodeError, match="execute_plan"):
        check_calls("execute_plam()", ["execute_plan"])
