"""The trusted evaluator: what counts as success, episodes that end early, the interval."""

from __future__ import annotations

import numpy as np
import pytest

from embodied.core.errors import ConfigError
from embodied.core.stats import wilson_interval
from embodied.rl.writing import make_task
from embodied.sim.actors import expert_actor, random_actor, zero_actor
from embodied.sim.batch_env import BatchEnv
from embodied.sim.evaluation import evaluate
from embodied.sim.tasks.reach import Reach


class Scripted(Reach):
    """Success and termination by the clock: environment k succeeds and falls at given steps."""

    def __init__(self, success_steps, end_steps, episode_steps=10):
        super().__init__(instruction="Reach.", episode_steps=episode_steps)
        self.success_steps, self.end_steps = success_steps, end_steps

    def _step(self, world):
        return np.rint(world.time / self.control_dt_s).astype(int)

    def success(self, world):
        return np.array([s in wanted for s, wanted in zip(self._step(world), self.success_steps, strict=True)])

    def terminated(self, world):
        return np.array([s == end for s, end in zip(self._step(world), self.end_steps, strict=True)])


def test_success_counts_once_and_only_while_the_first_episode_lives():
    task = Scripted(
        # passes through, stays to the end, falls before its success, succeeds as it falls, never
        success_steps=[{3}, set(range(4, 11)), {6}, {5}, set()],
        end_steps=[None, None, 4, 5, None],
    )
    found = evaluate(task, zero_actor(task), episodes=5, seed=0)
    assert found.success.tolist() == [True, True, False, True, False]
    assert found.success_at_end.tolist() == [False, True, False, True, False]
    assert found.first_success_step.tolist() == [2, 3, -1, 4, -1]
    assert found.rate == pytest.approx(0.6)


def test_a_second_episode_in_the_same_row_does_not_count():
    class Later(Scripted):
        """Success at every step of every episode of a row but its first."""

        fallen = np.zeros(2, dtype=bool)

        def success(self, world):
            return self.fallen

        def terminated(self, world):
            found = super().terminated(world)
            self.fallen = self.fallen | found
            return found

    task = Later(success_steps=[], end_steps=[None, 2])  # row 0 lives to the end, row 1 falls again and again
    found = evaluate(task, zero_actor(task), episodes=2, seed=0)
    assert task.fallen.tolist() == [False, True]
    assert found.success.tolist() == found.success_at_end.tolist() == [False, False]
    assert found.first_success_step.tolist() == [-1, -1]


def test_it_stops_when_all_have_ended():
    task, calls = Scripted([set()] * 3, [2, 3, 1]), []
    act = zero_actor(task)
    evaluate(task, lambda o, w: calls.append(1) or act(o, w), episodes=3, seed=0)
    assert len(calls) == 3


def test_wilson_interval_in_the_result():
    task = Scripted([{1}, {1}, set(), {1}], [None] * 4)
    row = evaluate(task, zero_actor(task), episodes=4, seed=7).to_json()
    assert (row["low"], row["high"]) == wilson_interval(3, 4)
    assert row["low"] == pytest.approx(0.3006, abs=1e-4)
    assert row["high"] == pytest.approx(0.9544, abs=1e-4)
    assert (row["rate"], row["episodes"], row["seed"], row["at_end"]) == (0.75, 4, 7, 0.0)


def test_seeds_give_other_starts_and_the_same_seed_the_same():
    task, worlds = make_task("reach"), []
    for seed in (1, 1, 2):
        record = []
        evaluate(task, random_actor(task, 0), episodes=2, seed=seed, record=record)
        worlds.append(record[0].goal.position)
        assert len(record) == task.episode_steps
    np.testing.assert_array_equal(worlds[0], worlds[1])
    assert not np.array_equal(worlds[0], worlds[2])


def test_expert_beats_random_and_zero():
    task = make_task("reach")
    assert evaluate(task, expert_actor(task, 20), episodes=20, seed=3).rate >= 0.95
    assert evaluate(task, expert_actor(task, 20, noise=0.4, seed=1), episodes=20, seed=3).rate >= 0.5
    assert evaluate(task, zero_actor(task), episodes=20, seed=3).rate == 0.0
    assert evaluate(task, random_actor(task, 1), episodes=20, seed=3).rate <= 0.2


def test_no_episodes():
    task = make_task("reach")
    with pytest.raises(ConfigError, match="episodes=0 must be at least 1"):
        evaluate(task, zero_actor(task), episodes=0, seed=0)


def test_the_environment_is_closed_when_an_actor_fails(monkeypatch):
    closed = []
    monkeypatch.setattr(BatchEnv, "close", lambda self: closed.append(1))
    task = make_task("reach")
    with pytest.raises(ZeroDivisionError):
        evaluate(task, lambda o, w: 1 / 0, episodes=2, seed=0)
    assert closed == [1]
