"""The library: the right program for a free sentence, the opposite never, and nothing for an unrelated one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted import DESCRIPTION

from embodied.core.errors import ConfigError, RewardCodeError
from embodied.core.writer import Check, WriterTools
from embodied.rewards.library import Expert, FromFile, Library, opposite
from embodied.rl.writing import make_task, shipped_library


@pytest.fixture(scope="module")
def tools():
    entries = shipped_library()
    return WriterTools(lambda: None, lambda program: Check("accepted", evaluation="by_row"), lambda: entries)


def asked(task, sentence):
    return replace(make_task(task).description(), instruction=sentence)


@pytest.mark.parametrize(
    ("sentence", "task"),
    [
        ("Please pull the drawer open.", "open_drawer"),
        ("Shut the drawer, please.", "close_drawer"),
        ("Close the drawer", "close_drawer"),
        ("Push the small cube onto the target.", "push_cube"),
        ("Press the red button.", "press_button"),
        ("Move your gripper to the target point.", "reach"),
        ("Make sure that the drawer is closed.", "close_drawer"),
    ],
)
def test_free_sentences(tools, sentence, task):
    (program,) = Library(tools).propose(asked(task, sentence))
    assert (program.writer, program.task) == ("library", task)
    assert "not a language model" in program.provenance["came_by"]
    assert 0.35 <= program.provenance["similarity"] <= 1.0001


@pytest.mark.parametrize("sentence", ["Make me a cup of coffee.", "What is the capital of France?", "Sing a song", "x"])
def test_unrelated_sentences_are_refused_with_the_remedy(tools, sentence):
    with pytest.raises(RewardCodeError, match="no program for") as caught:
        Library(tools).propose(asked("reach", sentence))
    assert "llm=openai" in str(caught.value)
    assert "nearest: '" in str(caught.value)


def test_a_program_of_another_task_is_refused_with_its_name(tools):
    with pytest.raises(RewardCodeError, match="Run it with task=open_drawer"):
        Library(tools).propose(asked("reach", "Open the drawer."))


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("Open the drawer.", "Close the drawer.", True),
        ("Close the drawer.", "Open the drawer.", True),
        ("The drawer shall be closed", "Open the drawer.", True),
        ("Closing the drawer", "Open the drawer.", True),
        ("Shutting the drawer", "Open the drawer.", True),
        ("Pull the drawer shut", "Close the drawer.", False),
        ("Open the drawer.", "Open the cabinet door.", False),
        ("Lift the cube.", "Lower the cube.", True),
        ("Dropping the cube", "Pick the cube up", True),
        ("Run forward.", "Run backwards.", True),
        ("Turn on the tap", "Turn off the tap", True),
        ("Push the cube to the goal.", "Open the drawer.", False),
        ("Disclose nothing", "Open the drawer", False),
    ],
)
def test_opposite_verbs(left, right, expected):
    assert opposite(left, right) is expected
    assert opposite(right, left) is expected


def test_opposites_are_left_out_of_the_ranking(tools):
    ranked = [entry.program.task for entry, _ in Library(tools).rank("Close the drawer.")]
    assert ranked[0] == "close_drawer"
    assert "open_drawer" not in ranked


@pytest.mark.parametrize("bad", [-0.1, 1.1])
def test_threshold_is_checked(tools, bad):
    with pytest.raises(ConfigError, match="min_similarity"):
        Library(tools, min_similarity=bad)


def test_expert(tools):
    (program,) = Expert(tools).propose(make_task("hopper").description())
    assert program == make_task("hopper").expert_reward()
    with pytest.raises(RewardCodeError, match="'toy' has no expert reward"):
        Expert(tools).propose(DESCRIPTION)


def test_a_file(tools, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def reward(world, action):\n    return {'a': world.time}\n")
    (program,) = FromFile(tools, path=str(path)).propose(DESCRIPTION)
    assert (program.source, program.task, program.evaluation) == (path.read_text(), "toy", "by_row")
    assert program.provenance == {"came_by": "file mine.py"}


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_a_file_that_cannot_be_read(tools, tmp_path, kind):
    path = tmp_path / "mine.py"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"reward\.path=.*cannot be read"):
        FromFile(tools, path=str(path)).propose(DESCRIPTION)


def test_a_file_that_is_not_accepted(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import os\n")
    refusing = WriterTools(lambda: None, lambda p: Check("rejected_static", "no", 1), list)
    with pytest.raises(RewardCodeError, match="line 1: no"):
        FromFile(refusing, path=str(path)).propose(DESCRIPTION)
