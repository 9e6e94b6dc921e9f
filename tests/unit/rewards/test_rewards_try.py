"""Recorded episodes, and what trying and screening a program on them finds out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.core import trust
from embodied.core.errors import RewardCodeError
from embodied.core.reward import RewardProgram
from embodied.rewards import probe
from embodied.rewards.check import Checker
from embodied.rewards.probe import PROBES, TooSlow, probe_rows, try_program
from embodied.rewards.rollouts import POLICIES, Rollouts, record_rollouts
from embodied.rewards.screen import screen
from embodied.rl.writing import make_task
from embodied.sandbox.static_check import check_source

TASK = make_task("reach")


@pytest.fixture(scope="module")
def rollouts():
    return record_rollouts(TASK, seed=5)


@pytest.fixture
def bind_here(monkeypatch):
    """These programs are the test's own: they may run in this process."""
    monkeypatch.setattr(trust, "_report", {"by": "a test"})


def program(body, entry="reward(world, action)", head=""):
    return RewardProgram(f"{head}def {entry}:\n    {body}\n", "person", "reach")


def tried(body, rollouts, **more):
    return try_program(program(body, **more), rollouts, TASK.schema)


# --- rollouts ---------------------------------------------------------------------------------------------
def test_rollouts_hold_every_policy_and_quantity(rollouts):
    steps, episodes, size = rollouts.actions.shape
    assert (steps, episodes, size) == (60, 32, 6)
    assert sorted(set(rollouts.policy)) == sorted(POLICIES)
    assert set(rollouts.values) == set(TASK.schema.quantities)
    assert rollouts.values["goal.position"].shape == (61, 32, 3)
    assert np.abs(rollouts.actions).max() <= 1.0
    assert rollouts.success[rollouts.policy == "expert"].all()
    assert not rollouts.success[rollouts.policy == "zero"].any()
    assert not rollouts.actions[:, rollouts.policy == "zero"].any()
    assert rollouts.alive.all()


def test_rollouts_are_reproducible_and_travel_as_arrays(rollouts):
    again = record_rollouts(TASK, seed=5)
    other = Rollouts.from_arrays(again.to_arrays(), TASK.schema)
    for path, value in rollouts.values.items():
        np.testing.assert_array_equal(value, other.values[path])
    for name in ("actions", "policy", "success", "alive"):
        np.testing.assert_array_equal(getattr(rollouts, name), getattr(other, name))
    assert not np.array_equal(record_rollouts(TASK, seed=6).actions, rollouts.actions)


def test_worlds_know_the_step_before(rollouts):
    world = rollouts.worlds(TASK.schema)
    assert world.batch_shape == (60 * 32,)
    np.testing.assert_array_equal(world.previous.time[:32], 0.0)
    np.testing.assert_array_equal(world.previous.gripper.position[32:], world.gripper.position[:-32])


def test_a_task_without_an_expert_and_with_falls():
    found = record_rollouts(make_task("hopper"), seed=0, episodes=3)
    assert sorted(set(found.policy)) == ["random", "zero"]
    assert not found.alive[-1].all()
    assert (np.diff(found.alive.astype(int), axis=0) <= 0).all(), "who has fallen stays down"


# --- batched or not ---------------------------------------------------------------------------------------
def test_probes_cover_starts_ends_and_enough_between(rollouts):
    rows = probe_rows(rollouts)
    assert len(rows) >= 256
    assert set(range(32)) <= set(rows)
    assert set(range(59 * 32, 60 * 32)) <= set(rows)
    assert len(np.unique(rows)) == len(rows) == PROBES + 64


GOOD_TERMS = [
    "np.linalg.norm(world.goal.position - world.gripper.position, axis=-1)",
    "world.time",
    "np.sum(action**2, axis=-1)",
    "np.where(world.gripper.openness > 0.5, 1.0, 0.0)",
    "world.time - world.previous.time",
    "np.max(np.abs(world.arm.joint_velocities), axis=-1)",
    "0.0",
]
BATCH_TERMS = [
    "np.linalg.norm(world.goal.position - world.gripper.position)",
    "np.mean(world.gripper.position[..., 2]) + 0.0 * world.time",
    "world.gripper.position[..., 2] - np.min(world.gripper.position[..., 2])",
    "np.cumsum(world.gripper.position[..., 2])" ,
    "np.sort(world.gripper.position[..., 2])",
    "world.gripper.position[..., 2] * action.shape[0]",
    "np.sum(action**2)",
]  # fmt: skip


@settings(max_examples=12)
@given(st.lists(st.sampled_from(GOOD_TERMS), min_size=1, max_size=4), st.sampled_from(BATCH_TERMS), st.booleans())
def test_batched_is_believed_only_where_it_equals_row_by_row(good, bad, spoilt):
    trust.mark_locked({"by": "a test"})
    try:
        terms = [*good, *([bad] if spoilt else [])]
        body = "return {" + ", ".join(f"'t{i}': {term}" for i, term in enumerate(terms)) + "}"
        answer, found = tried(body, _ROLLOUTS())
        assert answer["evaluation"] == ("by_row" if spoilt else "batched")
        assert bool(answer["note"]) == spoilt
        assert all(value.shape == (60, 32) for value in found.values())
    except RewardCodeError:  # some mistakes cannot even be evaluated for one state
        if not spoilt:
            raise
    finally:
        trust._report = None


def _ROLLOUTS(_cache=[]):  # noqa: B006 - one recording for all examples
    if not _cache:
        _cache.append(record_rollouts(TASK, seed=5))
    return _cache[0]


ONLY_IN = {
    "a batch of one": "world.time.shape == (1,)",
    "a batch of two": "world.time.shape == (2,)",
    "a batch of 64": "world.time.shape == (64,)",
    "a batch in another order": "np.ravel(world.time)[0] > np.min(world.time)",
}


@pytest.mark.parametrize("where", ONLY_IN)
def test_a_fault_that_shows_in_one_kind_of_batch_alone_is_found(where, rollouts, bind_here):
    for size, believed in ((0.0, True), (1e-6, False)):
        body = f"return {{'right': world.time, 'wrong': 0.0 * world.time + ({ONLY_IN[where]}) * {size}}}"
        answer, _ = tried(body, rollouts)
        assert answer["evaluation"] == ("batched" if believed else "by_row"), answer["note"]


def test_the_note_tells_the_writer_what_to_do(rollouts, bind_here):
    answer, _ = tried("return {'a': world.time + np.mean(world.gripper.position)}", rollouts)
    assert "term 'a' is" in answer["note"]
    assert "axis=-1" in answer["note"]


@pytest.mark.parametrize(("comparison", "where"), [(">", "only in a batch"), ("<=", "only for single states")])
def test_a_term_that_comes_and_goes_with_the_batch(rollouts, bind_here, comparison, where):
    body = f"return {{'a': world.time, 'b': world.time}} if np.size(world.time) {comparison} 1 else {{'a': world.time}}"
    answer, _ = tried(body, rollouts)
    assert f"term 'b' exists {where}" in answer["note"]
    assert answer["evaluation"] == "by_row"


def test_branches_on_one_state_run_row_by_row(rollouts, bind_here):
    answer, found = tried("return {'a': 1.0 if world.gripper.openness > 0.5 else 0.0}", rollouts)
    assert answer["evaluation"] == "by_row"
    assert "each state alone works" in answer["note"]
    assert set(np.unique(found["a"])) <= {0.0, 1.0}


def test_the_published_form_runs_row_by_row_without_a_note(rollouts, bind_here):
    answer, found = tried(
        "return -np.linalg.norm(self.goal_position - self.robot.ee_position)", rollouts,
        entry="compute_dense_reward(self, action) -> float",
    )  # fmt: skip
    assert (answer["evaluation"], answer["note"]) == ("by_row", "")
    assert found["reward"].shape == (60, 32)


def test_names_that_change_from_state_to_state(rollouts, bind_here):
    with pytest.raises(RewardCodeError, match="names of the terms change"):
        tried("return {'a': 0.0} if world.time < 1.0 else {'b': 0.0}", rollouts)


def test_too_slow(rollouts, bind_here):
    body = "return {'a': world.time * 0.0 + sum([i for i in range(2000000)]) * 0.0}"
    with pytest.raises(TooSlow, match=r"too slow: \d+ us per state; the limit is"):
        tried(body, rollouts)


def test_progress_is_shown_while_trying(rollouts, bind_here):
    beats = []
    try_program(program("return {'a': world.time}"), rollouts, TASK.schema, beat=lambda: beats.append(1))
    assert len(beats) == len(probe_rows(rollouts))


def test_weights_are_applied(rollouts, bind_here):
    _, found = tried("return {'a': world.time, 'b': world.time}", rollouts, head="WEIGHTS = {'a': -2.0}\n")
    np.testing.assert_allclose(found["a"], -2.0 * found["b"])


# --- the screen -------------------------------------------------------------------------------------------
def hand_made(values, alive=None, success=(True, True, False, False)):
    """Four episodes of two steps: two of the expert, one random, one motionless."""
    shape = np.broadcast_to(np.array(values, float), (2, 4))
    rollouts = Rollouts(
        {}, np.zeros((2, 4, 1)), np.array(["expert", "expert", "random", "zero"]), np.array(success),
        np.ones((2, 4), bool) if alive is None else np.array(alive),
    )  # fmt: skip
    return shape, rollouts


@pytest.mark.parametrize(
    ("values", "auc"),
    [([2, 3, 1, 0], 1.0), ([0, 1, 2, 3], 0.0), ([1, 1, 1, 1], 0.5), ([2, 0, 1, 1], 0.5), ([2, 1, 1, 0], 0.875)],
)
def test_auc_by_hand(values, auc):
    value, rollouts = hand_made(values)
    assert screen({"a": value}, rollouts)["auc"] == auc


def test_only_living_steps_count():
    value, rollouts = hand_made([[0, 0, 0, 0], [0, 0, 9, 9]], alive=[[1, 1, 1, 1], [1, 1, 0, 0]])
    report = screen({"a": value}, replace(rollouts, alive=rollouts.alive == 1))
    assert report["auc"] == 0.5
    assert report["terms"]["a"]["max"] == 0.0


def test_a_random_episode_that_succeeds_is_not_held_against_the_program():
    value, rollouts = hand_made([2, 3, 9, 0], success=(True, True, True, False))
    report = screen({"a": value}, rollouts)
    assert report["auc"] == report["terms"]["a"]["auc"] == 1.0
    assert report["auc_by_policy"] == {"zero": 1.0}
    assert report["terms"]["a"]["bad_mean"] == 0.0


def test_without_a_successful_expert_nothing_is_ranked():
    value, rollouts = hand_made([2, 3, 1, 0], success=(False,) * 4)
    report = screen({"a": value}, rollouts)
    assert report["auc"] is None
    assert any("could not judge the order" in w for w in report["warnings"])


DISTANCE = "np.linalg.norm(world.goal.position - world.gripper.position, axis=-1)"


@pytest.mark.parametrize(
    ("terms", "warning"),
    [
        (f"'near': -{DISTANCE}, 'wrong': 1.0", "term 'wrong' never changes"),
        (f"'near': -{DISTANCE}, 'big': 300.0 * np.tanh({DISTANCE})", "term 'big' makes up"),
        (f"'far': {DISTANCE}", "do not clearly outrank random and motionless ones (AUC 0.0"),
        (f"'far': {DISTANCE}", "terms that rank bad episodes higher: far"),
        (f"'far': {DISTANCE}", "return and success hardly go together"),
        ("'clock': world.time", "(AUC 0.50)"),
        ("'effort': -np.sum(action**2, axis=-1)", "do not clearly outrank"),
        (f"'near': -1e5 * {DISTANCE}", "usual size per step"),
        (f"'near': -1e-5 * {DISTANCE}", "usual size per step"),
    ],
)
def test_weak_programs_are_flagged(terms, warning, rollouts, bind_here):
    _, found = tried(f"return {{{terms}}}", rollouts)
    warnings = screen(found, rollouts)["warnings"]
    assert any(warning in w for w in warnings), warnings


def test_the_expert_reward_has_no_warning(rollouts, bind_here):
    _, found = try_program(TASK.expert_reward(), rollouts, TASK.schema)
    report = screen(found, rollouts)
    assert report["auc"] >= 0.95
    assert report["warnings"] == []
    assert report["episodes"] == dict.fromkeys(POLICIES, 8)


# --- verdicts, under the real lock ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("source", "verdict", "line", "message"),
    [
        ("import os\n" + TASK.expert_reward().source, "rejected_static", 1, "os"),
        ("def reward(world, action):\n    return {'a': world.gripper.mass}\n", "rejected_static", 2, "mass"),
        ("def reward(world, action):\n    k = [1.0]\n    return {'a': k[int(world.time * 100 + 2)]}\n",
         "error_reported", 3, "IndexError"),
        ("def reward(world, action):\n    return {'a': world.time / 0.0}\n", "error_reported", 2, "not finite"),
        ("def reward(world, action):\n    return {'a': 1e7}\n", "error_reported", 2, "limit"),
        ("def reward(world, action):\n    return {'a': 'x'}\n", "error_reported", 2, "str"),
        ("def reward(world, action):\n    return {}\n", "error_reported", None, "no terms"),
        ("WEIGHTS = {'b': 1.0}\ndef reward(world, action):\n    return {'a': 0.0}\n",
         "error_reported", None, "WEIGHTS"),
        ("def reward(world, action):\n    return {'a': 0.0 * sum([i for i in range(1000) for j in range(1000)])}\n",
         "contained_runtime", None, "too slow"),
        ("N = range(9999)\ndef reward(world, action):\n    return {'a': sum([1 for i in N for j in N for k in N])}\n",
         "contained_runtime", None, "stopped"),
        (TASK.expert_reward().source, "accepted", None, ""),
    ],
)  # fmt: skip
def test_verdicts(source, verdict, line, message, rollouts):
    check = Checker(TASK.schema, rollouts, deadline_s=6.0)(RewardProgram(source, "person", "reach"))
    assert (check.verdict, check.line) == (verdict, line), check
    assert message in check.message
    if verdict == "accepted":
        assert check.screen["auc"] >= 0.95
        assert check.evaluation == "batched"
        assert check.us_per_row > 0


def test_all_static_problems_are_told_at_once():
    source = "def reward(world, action):\n    a = world.foo\n    b = world.gripper.bar\n    return {'a': a + b}\n"
    assert not check_source(source, TASK.schema).ok
    check = Checker(TASK.schema, None)(RewardProgram(source, "person", "reach"))
    assert check.verdict == "rejected_static"
    assert "foo" in check.located_message
    assert "bar" in check.located_message
    assert "line 2" in check.located_message
    assert "line 3" in check.located_message


def test_the_probe_answers_one_job_and_leaves():
    assert callable(probe.prepare)
    schema = probe.prepare({"schema": TASK.schema.to_json()})
    assert schema.to_json() == TASK.schema.to_json()
