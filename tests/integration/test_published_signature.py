"""Text2Reward's published form of a reward runs on Meta-World by way of the yaml's aliases: nine programs of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from embodied.core.reward import RewardProgram
from embodied.rewards.check import Checker
from embodied.rewards.rollouts import record_rollouts
from embodied.rl.writing import ROLLOUT_SEED, make_task

pytestmark = pytest.mark.metaworld
PROGRAMS = sorted((Path(__file__).resolve().parents[1] / "support" / "published").glob("*.py"))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_in_the_published_form_is_accepted_and_ranks_experts_first(path):
    task = make_task(f"metaworld/{path.stem}")
    checker = Checker(task.schema, record_rollouts(task, seed=ROLLOUT_SEED, episodes=2))
    check = checker(RewardProgram(path.read_text(), "person", task.name))
    assert check.verdict == "accepted", check.located_message
    assert check.evaluation == "by_row", "one float of one state"
    assert check.screen["auc"] >= 0.9
    assert list(check.screen["terms"]) == ["reward"]


def test_there_are_enough_of_them():
    assert len(PROGRAMS) >= 8
