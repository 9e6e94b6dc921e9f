"""The writer: its prompts are frozen, its repairs bounded, its answers never trusted."""

from __future__ import annotations

import hashlib
import re

import pytest
from scripted import DESCRIPTION, SCHEMA, Scripted, fenced

from embodied.core.chat import Completion, Message, request_sha256
from embodied.core.errors import ChatModelError, ConfigError, RewardCodeError, SandboxError
from embodied.core.reward import RewardProgram
from embodied.core.writer import Check, Feedback, LibraryEntry, WriterTools
from embodied.rewards.check import Checker
from embodied.rewards.text2reward import PROMPT_VERSION, Text2Reward, render

GOOD = '''def reward(world, action):
    d = np.linalg.norm(world.cube.position - world.gripper.position, axis=-1)
    return {"near": 1.0 - np.tanh(5.0 * d), "lifted": 2.0 * world.cube.lifted}
'''
UNKNOWN = '''def reward(world, action):
    d = np.linalg.norm(world.cube.position, axis=-1)
    return {"near": -d, "grip": world.gripper.force}
'''
IMPORTS = "import os\n" + GOOD
LIBRARY = [
    LibraryEntry(
        "Lift the cube.", RewardProgram("def reward(world, action):\n    return {'own': 1}\n", "expert", "toy")
    ),
    LibraryEntry(
        "Pick up the block and hold it.",
        RewardProgram("def reward(world, action):\n    return {'block': 1}\n", "expert", "pick"),
    ),
    LibraryEntry(
        "Run forward fast.", RewardProgram("def reward(world, action):\n    return {'run': 1}\n", "expert", "run")
    ),
]


def tools_of(chat, check=None):
    return WriterTools(chat=lambda: chat, check=check or Checker(SCHEMA, None), library=lambda: LIBRARY)


def propose(*answers, check=None, n=1, feedback=(), **settings):
    chat = Scripted(list(answers))
    tools = tools_of(chat, check)
    writer = Text2Reward(tools, **settings)
    return writer.propose(DESCRIPTION, feedback, n=n), chat, tools


# --- the prompt -------------------------------------------------------------------------------------------
def digest(messages):
    return hashlib.sha256("\0".join(f"{m.role}\0{m.content}" for m in messages).encode()).hexdigest()


def prompts():
    writer = Text2Reward(tools_of(None))
    shown = Text2Reward(tools_of(None), few_shot=1)
    done = Feedback(RewardProgram(GOOD, "text2reward", "toy"), "It hovers over the cube.", "Make it close the jaws.")
    return {
        "zero_shot": writer.prompt(DESCRIPTION),
        "few_shot": shown.prompt(DESCRIPTION),
        "feedback": writer.prompt(DESCRIPTION, [done]),
    }


FROZEN = {
    "zero_shot": "7f32cfaa680056d156b3bb4591c5f6227a236398f38cd98b362af3437c2a5221",
    "few_shot": "d9f208fe01e4b9b08bc9837dd526d968a691884cc263e12ab67ad071473beb58",
    "feedback": "e741782ee7893cd7e4dddc22f2a3ed549d1b172e0ca5e7c77f7c24cfa8d93d4c",
}


@pytest.mark.parametrize("name", FROZEN)
def test_prompts_are_frozen(name):
    """Recorded answers are found by the hash of the request: a changed prompt needs a new version and new records."""
    assert PROMPT_VERSION == "text2reward_v1"
    assert digest(prompts()[name]) == FROZEN[name]


@pytest.mark.parametrize("name", FROZEN)
def test_prompts_are_free_of_paths_versions_and_slots(name):
    for message in prompts()[name]:
        text = message.content
        assert not re.search(r"(^|\s)/[a-z]+/|\.yaml|\.py\b|site-packages|embodied|mujoco", text, re.IGNORECASE), text
        assert not re.search(r"\d+\.\d+\.\d+|20\d\d-\d\d", text)
        assert not re.search(r"\{[a-z_]+(:g)?\}", text), "an unfilled slot"


def test_the_prompt_shows_every_quantity_and_the_numbers_of_the_task():
    user = prompts()["zero_shot"][1].content
    assert SCHEMA.class_listing() in user
    for text in ("Lift the cube.", "shape (..., 4)", "0.05 s", "80 actions", "gripper velocity and jaw"):
        assert text in user


def test_few_shot_shows_the_nearest_other_task_and_never_the_asked_one():
    one, two = prompts()["few_shot"][1].content, Text2Reward(tools_of(None), few_shot=9).prompt(DESCRIPTION)[1].content
    assert "'block': 1" in one
    assert "'run': 1" not in one
    assert "'own': 1" not in one + two
    assert two.index("'block': 1") < two.index("'run': 1")


def test_feedback_is_a_conversation():
    messages = prompts()["feedback"]
    assert [m.role for m in messages] == ["system", "user", "assistant", "user"]
    assert messages[2].content == f"```python\n{GOOD.strip()}\n```"
    assert "It hovers over the cube." in messages[3].content
    assert "Make it close the jaws." in messages[3].content
    assert messages[:2] == prompts()["zero_shot"]


def test_braces_in_values_stay():
    assert "{action_size} {x}" in render("repair", error="{action_size} {x}")


# --- answers ----------------------------------------------------------------------------------------------
def test_a_good_answer_is_taken_at_once():
    (program,), chat, tools = propose(fenced(GOOD))
    assert program.source.strip() == GOOD.strip()
    assert (program.writer, program.task, len(chat.asked)) == ("text2reward", "toy", 1)
    assert program.provenance["repairs"] == 0
    assert program.provenance["model"] == "scripted-model"
    assert program.provenance["prompt_sha256"] == request_sha256(chat.asked[0], 1, 0.0)
    assert [a.check.verdict for a in tools.attempts] == ["accepted"]


def test_an_answer_that_was_paid_for_outlives_a_fault_of_the_check():
    def broken(program):
        raise SandboxError("no lock here")

    tools = tools_of(Scripted([fenced(GOOD)]), broken)
    with pytest.raises(SandboxError):
        Text2Reward(tools).propose(DESCRIPTION, (), n=1)
    (attempt,) = tools.attempts
    assert attempt.completion.text == fenced(GOOD)
    assert attempt.check.verdict == "not_checked"


def test_a_fault_goes_back_with_its_line_and_is_mended():
    (program,), chat, tools = propose(fenced(UNKNOWN), fenced(IMPORTS), fenced(GOOD))
    assert program.provenance["repairs"] == 2
    assert [a.check.verdict for a in tools.attempts] == ["rejected_static", "rejected_static", "accepted"]
    second, third = chat.asked[1], chat.asked[2]
    assert [m.role for m in second] == ["system", "user", "assistant", "user"]
    assert second[2].content == fenced(UNKNOWN)
    assert "line 3" in second[3].content
    assert "force" in second[3].content
    assert "Known: position" in second[3].content, "the repair names what exists"
    assert "line 1" in third[-1].content
    assert third[: len(second)] == second, "the conversation goes on"


def test_repairs_are_bounded():
    sources = [UNKNOWN + f"# {i}\n" for i in range(9)]
    with pytest.raises(RewardCodeError, match=r"no working reward program after 4 answer\(s\).*line 3") as caught:
        propose(*map(fenced, sources), max_repairs=3)
    assert caught.value.line == 3
    chat = Scripted([fenced(s) for s in sources])
    with pytest.raises(RewardCodeError, match="after 1 answer"):
        Text2Reward(tools_of(chat), max_repairs=0).propose(DESCRIPTION)
    assert len(chat.asked) == 1


def test_the_same_bad_code_again_ends_the_loop():
    chat = Scripted([fenced(UNKNOWN)])
    with pytest.raises(RewardCodeError, match="after 2 answer"):
        Text2Reward(tools_of(chat), max_repairs=10).propose(DESCRIPTION)
    assert len(chat.asked) == 2


def test_a_circle_of_two_bad_programs_ends_too():
    chat = Scripted([fenced(UNKNOWN), fenced(IMPORTS), fenced(UNKNOWN), fenced(GOOD)])
    with pytest.raises(RewardCodeError, match="after 3 answer"):
        Text2Reward(tools_of(chat), max_repairs=10).propose(DESCRIPTION)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Completion("I cannot help with that.", "m", finish_reason="content_filter"), ""),
        (Completion("```python\ndef reward(world, acti", "m", finish_reason="length"), ""),
        ("", ""),
        ("   \n", ""),
        ("You should reward closeness.", "Python"),
        ('```json\n{"reward": 1}\n```', "json"),
        (fenced("def reward(world, action:\n"), ""),
        (fenced("x = 1\n"), "reward"),
    ],
    ids=["refused", "cut off", "empty", "blank", "prose", "json", "syntax", "no function"],
)
def test_answers_without_a_program_are_asked_for_again(answer, why):
    (program,), chat, tools = propose(answer, fenced(GOOD))
    assert program.provenance["repairs"] == 1
    assert tools.attempts[0].check.verdict == "rejected_static"
    assert tools.attempts[0].check.message
    assert why in chat.asked[1][-1].content
    with pytest.raises(RewardCodeError, match="no working reward program after"):
        propose(answer)


def test_an_error_of_the_model_is_passed_on():
    class Silent:
        def complete(self, *_, **__):
            raise ChatModelError("unreachable")

    with pytest.raises(ChatModelError, match="unreachable"):
        Text2Reward(tools_of(Silent())).propose(DESCRIPTION)


def test_a_program_that_only_runs_row_by_row_is_improved_or_kept():
    def check(program):
        return Check("accepted", evaluation="by_row" if "slow" in program.source else "batched",
                     note="term 'a' differs in a batch" if "slow" in program.source else "")  # fmt: skip

    slow = GOOD.replace("near", "slow")
    (program,), chat, _ = propose(fenced(slow), fenced(GOOD), check=check)
    assert program.evaluation == "batched"
    assert "differs in a batch" in chat.asked[1][-1].content
    (program,), chat, _ = propose(fenced(slow), check=check)
    assert (program.evaluation, program.source.strip()) == ("by_row", slow.strip())
    (program,), chat, _ = propose(fenced(slow), fenced(GOOD + "# b\n"), check=lambda p: Check(
        "error_reported", "boom") if "# b" in p.source else check(p))  # fmt: skip
    assert program.source.strip() == slow.strip(), "a worse repair does not lose what worked"


def test_several_programs_and_one_bad_among_them():
    programs, _chat, tools = propose(fenced(GOOD), fenced(IMPORTS), fenced(GOOD + "\n# other\n"), n=2, max_repairs=0)
    assert len(programs) == 1
    assert len(tools.attempts) == 2


def test_rounds_are_counted():
    done = Feedback(RewardProgram(GOOD, "text2reward", "toy"), "a", "b")
    (program,), *_ = propose(fenced(GOOD), feedback=(done, done))
    assert program.provenance["round"] == 2


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="max_repairs=-1"):
        Text2Reward(tools_of(None), max_repairs=-1)


def test_messages_are_not_shared_between_attempts():
    _, _, tools = propose(fenced(UNKNOWN), fenced(GOOD))
    assert len(tools.attempts[0].messages) == 2
    assert len(tools.attempts[1].messages) == 4
    assert all(isinstance(m, Message) for a in tools.attempts for m in a.messages)
