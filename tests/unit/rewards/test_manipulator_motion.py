"""The manipulator's motion API: calls become exact terms, faults name what is valid, prompts match, motion follows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import yaml

from embodied.control.mppi import MPPI
from embodied.control.planner import SamplingPlanner
from embodied.control.trial import try_planner
from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.errors import RewardCodeError
from embodied.core.reward import RewardProgram
from embodied.rewards import manipulator_motion
from embodied.rewards.language_to_rewards import END, START, _rules, check_description, prompt
from embodied.rewards.manipulator_motion import OBJECTS, POINTS, ManipulatorMotion
from embodied.rewards.motion_code import run_motion_code
from embodied.sandbox.static_check import check_source
from embodied.sim.batch_env import BatchEnv

QUIET = {"approach", "level", "effort", "calm", "posture"}


def task_of(name):
    return build(yaml.safe_load((conf_dir() / "task" / "manipulator" / f"{name}.yaml").read_text()))


@pytest.fixture(scope="module")
def task():
    return task_of("lift_both")


@pytest.fixture(scope="module")
def worlds(task):
    env = BatchEnv(task, n_envs=16, seed=0)
    env.reset()
    for k in range(8):
        step = env.step(np.sin(np.arange(16 * 8) + 0.3 * k).reshape(16, 8))
    return step.world, step.action


def motion_of(*calls):
    motion = ManipulatorMotion()
    for name, *arguments in calls:
        motion.calls()[name](*arguments)
    motion.execute_plan()
    return motion


def terms_of(*calls):
    return {term.name: term for term in motion_of(*calls).terms()}


def bound(source):
    return RewardProgram(source, "language_to_rewards", "lift_both", evaluation="batched").bind(reviewed=True)


L2, Z = "set_l2_distance_reward", "set_obj_z_position_reward"
TILT, JOINT = "set_obj_orientation_reward", "set_joint_fraction_reward"
CASES = [  # calls, the terms that they ask for as (weight, norm, p, residual), and the hand's own terms
    (
        [(L2, "palm", "apple")],
        {"palm_to_apple": (5.0, "l2", 0.02, "world.palm.position - world.apple.position")},
        set(),
    ),
    (
        [(L2, "palm", "apple", 2.5), (Z, "apple", 0.5)],
        {
            "palm_to_apple": (2.5, "l2", 0.02, "world.palm.position - world.apple.position"),
            "apple_height": (10.0, "smooth_abs", 0.02, "scalar(world.apple.position[..., 2] - 0.5)"),
        },
        {"grip"},
    ),
    (
        [(Z, "apple", 0.5)],
        {"apple_height": (10.0, "smooth_abs", 0.02, "scalar(world.apple.position[..., 2] - 0.5)")},
        {"reach", "grip"},
    ),
    (
        [(L2, "palm", "drawer_handle"), (JOINT, "drawer", 1)],
        {
            "palm_to_drawer_handle": (5.0, "l2", 0.02, "world.palm.position - world.drawer.handle_position"),
            "drawer_fraction": (5.0, "smooth_abs", 0.02, "scalar(world.drawer.opening_fraction - 1)"),
        },
        {"grip"},
    ),
    (
        [(JOINT, "faucet", 0.5)],
        {"faucet_fraction": (5.0, "smooth_abs", 0.02, "scalar(world.faucet.angle_fraction - 0.5)")},
        {"reach", "grip"},
    ),
    (
        [(TILT, "box", math.pi)],
        {"box_tilt": (2.0, "smooth_abs", 0.1, "scalar(tilt(world.box.up) - 3.14159)")},
        {"reach", "grip"},
    ),
    (
        [(L2, "palm", "apple"), (L2, "palm", "box"), (Z, "apple", 0.25), (Z, "box", 0.25)],
        {
            "palm_to_apple": (5.0, "l2", 0.02, "world.palm.position - world.apple.position"),
            "palm_to_box": (5.0, "l2", 0.02, "world.palm.position - world.box.position"),
            "apple_height": (10.0, "smooth_abs", 0.02, "scalar(world.apple.position[..., 2] - 0.25)"),
            "box_height": (10.0, "smooth_abs", 0.02, "scalar(world.box.position[..., 2] - 0.25)"),
        },
        {"grip", "together"},
    ),
    (
        [(L2, "palm", "rest_position"), (Z, "apple", 0.5)],  # sent elsewhere: it holds nothing
        {
            "palm_to_rest_position": (5.0, "l2", 0.02, "world.palm.position - world.rest_position"),
            "apple_height": (10.0, "smooth_abs", 0.02, "scalar(world.apple.position[..., 2] - 0.5)"),
        },
        set(),
    ),
]


@pytest.mark.parametrize(("calls", "asked", "hand"), CASES)
def test_calls_become_exactly_these_terms(calls, asked, hand):
    found = terms_of(*calls)
    assert set(found) == set(asked) | hand | QUIET
    for name, (weight, norm, p, residual) in asked.items():
        term = found[name]
        assert (term.weight, term.norm, term.p, term.residual) == (weight, norm, p, residual)


def test_of_two_objects_the_first_is_carried():
    assert POINTS["apple"] in terms_of((L2, "apple", "box"))["grip"].residual
    assert POINTS["box"] not in terms_of((L2, "apple", "box"))["grip"].residual
    assert POINTS["box"] in terms_of((L2, "box", "apple"))["grip"].residual
    assert POINTS["box"] in terms_of((L2, "drawer_center", "box"))["grip"].residual


def test_later_calls_replace_earlier_ones_and_reset_forgets_all():
    twice = terms_of((L2, "palm", "apple"), (L2, "apple", "palm", 1.0), (Z, "box", 0.1), (Z, "box", 0.3))
    assert "palm_to_apple" not in twice
    assert twice["apple_to_palm"].weight == 1.0
    assert "- 0.3)" in twice["box_height"].residual
    begun_anew = [(JOINT, "drawer", 1), (TILT, "box", 0), (Z, "box", 0.1), ("reset_reward",), (L2, "palm", "box")]
    assert set(terms_of(*begun_anew)) == {"palm_to_box"} | QUIET


@pytest.mark.parametrize(
    ("angle", "tilt"),
    [(0, 0), (math.pi, math.pi), (-math.pi / 2, math.pi / 2), (2 * math.pi, 0), (1.5 * math.pi, math.pi / 2)],
)
def test_an_orientation_is_a_tilt_from_upright(angle, tilt):
    motion = motion_of((TILT, "box", angle))
    assert motion.tilts["box"] == pytest.approx(tilt)


def test_every_program_passes_the_check_and_equals_row_by_row(task, worlds):
    calls = [(L2, "palm", "box"), (L2, "apple", "drawer_center"), (L2, "palm", "rest_position", 1.0)]
    calls += [(Z, "apple", 0.3), (Z, "box", 0.3), (TILT, "apple", 1.0), (TILT, "box", 3.0)]
    calls += [(JOINT, "drawer", 0.5), (JOINT, "faucet", 1.0), (L2, "palm", "apple"), (L2, "palm", "faucet_handle")]
    source = motion_of(*calls).source("title")
    result = check_source(source, task.schema)
    assert result.ok, str(result)
    world, action = worlds
    total, terms = bound(source)(world, action)
    rows = [bound(source)(world.rows(slice(i, i + 1)), action[i : i + 1])[0][0] for i in range(16)]
    np.testing.assert_allclose(total, rows, rtol=1e-12)
    assert all((value <= 1e-12).all() for value in terms.values())


def test_names_and_heights_are_those_of_the_task(task, worlds):
    world, _ = worlds
    for expression in POINTS.values():
        assert world.quantity(expression.removeprefix("world.")).shape == (16, 3)
    scope: dict = {}
    exec(motion_of().source(), scope)
    np.testing.assert_allclose(scope["HOME"], task.home_state()[1:8])
    up = world.quantity("box.up")
    np.testing.assert_allclose(scope["tilt"](up), np.arccos(np.clip(up[:, 2], -1, 1)), atol=1e-6)
    assert set(OBJECTS) | set(manipulator_motion.HANDLES.values()) <= set(POINTS)


def test_a_closed_grip_pays_at_its_place_and_costs_away_from_it():
    scope: dict = {}
    exec(motion_of((Z, "apple", 0.3)).source(), scope)

    class World:
        class palm:
            position = np.zeros(3)

        class fingers:
            set_openness = 1.0

    here, away = np.zeros(3), np.array([0.3, 0.0, 0.0])
    costs = {}
    for openness in (0.0, 1.0):
        World.fingers.set_openness = openness
        costs[openness] = scope["grip"](World, here), scope["grip"](World, away)
    assert costs[0.0][0] == pytest.approx(0.0)
    assert costs[1.0][0] == pytest.approx(1.0)
    assert costs[1.0][1] == pytest.approx(1.0)
    assert costs[0.0][1] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("script", "line", "words"),
    [
        ("set_l2_distance_reward('hand', 'apple')", 1, ["'hand' is unknown", "palm", "drawer_center", "rest_position"]),
        ("set_l2_distance_reward('palm', 7)", 1, ["name_obj_B=7", "faucet_handle"]),
        ("set_l2_distance_reward('palm', 'palm')", 1, ["must differ"]),
        ("set_l2_distance_reward('palm', 'apple', 1000)", 1, ["weight=1000", "[0, 100]"]),
        ("set_l2_distance_reward('palm')", 1, ["name_obj_B"]),
        ("reset_reward()\nset_obj_orientation_reward('drawer', 0)", 2, ["'drawer' is unknown", "apple, box"]),
        ("set_obj_orientation_reward('box', 180)", 1, ["x_axis_rotation_radians=180", "6.28319"]),
        ("set_obj_z_position_reward('palm', 0.1)", 1, ["'palm' is unknown", "apple, box"]),
        ("set_obj_z_position_reward('box', -0.1)", 1, ["z_height=-0.1", "[0, 1]"]),
        ("set_obj_z_position_reward('box', 'high')", 1, ["must be a number"]),
        ("set_joint_fraction_reward('drawer_handle', 1)", 1, ["'drawer_handle' is unknown", "drawer, faucet"]),
        ("set_joint_fraction_reward('drawer', 1.5)", 1, ["fraction=1.5", "[0, 1]"]),
        ("execute_plan(-1)", 1, ["plan_duration=-1", "[0, 600]"]),
        ("set_l2_distance_reward('palm', 'apple')", None, ["execute_plan"]),
        ("set_joint_fraction('drawer', 1)", 1, ["Did you mean 'set_joint_fraction_reward'"]),
        ("set_torso_targets(0.2)", 1, ["unknown name", "set_l2_distance_reward"]),
    ],
)
def test_faults_name_their_line_and_what_is_valid(script, line, words):
    with pytest.raises(RewardCodeError) as caught:
        run_motion_code(script, "manipulator")
    assert caught.value.line == line
    for word in words:
        assert word in caught.value.message


def test_the_prompts_describe_the_api_that_exists():
    text = prompt("manipulator_coder")
    for name, function in ManipulatorMotion().calls().items():
        assert f"def {name}(" in text
        listed = text.partition(f"def {name}(")[2].partition(")")[0]
        names = [part.partition("=")[0].strip() for part in listed.split(",") if part.strip()]
        code = function.__func__.__code__
        assert names == list(code.co_varnames[1 : code.co_argcount])
    for name in POINTS:
        assert f"'{name}'" in text
        if name != "palm":
            assert name in prompt("manipulator_descriptor")
    assert _rules(text).startswith("Use only these functions")
    assert "from the description" not in _rules(text)


def test_a_filled_template_is_taken_and_an_unfilled_one_is_not():
    text = prompt("manipulator_descriptor")
    template = START + text.rpartition(START)[2].partition(END)[0] + END
    with pytest.raises(RewardCodeError, match="CHOICE is not filled"):
        check_description(template, "stop")
    filled = f"{START}\n* The palm should move close to apple.\n{END}"
    assert check_description(f"Here it is:\n{filled}", "stop") == filled


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("touch", "set_l2_distance_reward('palm', 'apple')"),
        ("open_drawer", "set_l2_distance_reward('palm', 'drawer_handle')\nset_joint_fraction_reward('drawer', 1)"),
        ("lift", "set_l2_distance_reward('palm', 'apple')\nset_obj_z_position_reward('apple', 0.5)"),
    ],
)
def test_a_sampling_planner_follows_plain_calls(name, script):
    task = task_of(name)
    source = run_motion_code(f"{script}\nexecute_plan()", "manipulator")
    program = RewardProgram(source, "language_to_rewards", task.name, evaluation="batched").bind(reviewed=True)
    planner = SamplingPlanner(task, program, MPPI(), n_samples=32, horizon_s=0.36, n_knots=3, n_threads=0)
    trial = try_planner(planner, episodes=1, seed=0)
    planner.close()
    assert trial.success == [True]
