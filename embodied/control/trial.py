"""Success of a planner on fresh episodes, measured where the simulation is, by the task's own predicate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from embodied.control.closed_loop import Moment, drive
from embodied.control.planner import Plan
from embodied.core.errors import ConfigError
from embodied.core.stats import wilson_interval
from embodied.sim.batch_env import BatchEnv
from embodied.sim.task import ModelEdit, Start, Task


class Planner(Protocol):
    """What `drive` and `try_planner` need: a `SamplingPlanner`, here or in a locked process."""

    task: Task

    def reset(self, seed: int, edits: list[ModelEdit]) -> None:
        """Begins a new episode."""
        ...

    def plan(self, start: Start, t0: np.ndarray, *, budget_s: float | None = None) -> Plan:
        """The plan from the present state."""
        ...


@dataclass
class Trial:
    """Outcome of planned episodes.

    Attributes:
        success: whether the task's predicate (or judge) held at some step, per episode.
        first_success_s: time of the first success [s], None where there was none.
        terms: mean over the last episode of each weighted term of the followed plans.
        plans: number of plans made.
        plan_s: wall-clock seconds spent planning.
        sim_s: simulated seconds.
    """

    success: list[bool] = field(default_factory=list)
    first_success_s: list[float | None] = field(default_factory=list)
    terms: dict[str, float] = field(default_factory=dict)
    plans: int = 0
    plan_s: float = 0.0
    sim_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data with the 95% Wilson interval."""
        low, high = wilson_interval(sum(self.success), len(self.success))
        return {
            "rate": sum(self.success) / len(self.success),
            "low": low,
            "high": high,
            "episodes": len(self.success),
            "first_success_s": self.first_success_s,
            "plans": self.plans,
            "ms_per_plan": 1e3 * self.plan_s / max(self.plans, 1),
            "simulated_over_planning_time": self.sim_s / max(self.plan_s, 1e-9),
            "terms": self.terms,
        }


class _Timed:
    """A planner whose plans are counted and timed."""

    def __init__(self, inner: Planner, trial: Trial) -> None:
        self.inner, self.task, self.trial = inner, inner.task, trial

    def plan(self, start: Start, t0: np.ndarray, *, budget_s: float | None = None) -> Plan:
        begin = time.perf_counter()
        plan = self.inner.plan(start, t0, budget_s=budget_s)
        self.trial.plan_s += time.perf_counter() - begin
        self.trial.plans += 1
        return plan


def try_planner(
    planner: Planner,
    *,
    episodes: int,
    seed: int,
    replan_every: int = 1,
    on_step: Callable[[int, Moment], None] = lambda episode, moment: None,
    on_end: Callable[[int, Start], None] = lambda episode, end: None,
) -> Trial:
    """Plays fresh episodes; each ends at its first success or at the task's own length.

    Args:
        planner: the planner; reset before each episode.
        episodes: how many.
        seed: root seed of the starts and of the planner's noise.
        replan_every: control steps that follow one plan.
        on_step: told each step.
        on_end: told the state after an episode's last step.

    Raises:
        ConfigError: no episode.
        RewardCodeError: the program failed.
    """
    if episodes < 1:
        raise ConfigError(f"episodes={episodes} must be at least 1")
    trial, task = Trial(), planner.task
    timed: Any = _Timed(planner, trial)
    env = BatchEnv(task, n_envs=1, seed=seed)
    try:
        for episode in range(episodes):
            env.reset()
            planner.reset(seed + episode, list(env.start_of(0).edits))
            first, totals, count = None, {}, 0
            for moment in drive(env, timed, task.episode_steps, replan_every=replan_every):
                count += 1
                for name, value in moment.plan.terms.items():
                    totals[name] = totals.get(name, 0.0) + value
                on_step(episode, moment)
                if moment.step.success[0]:
                    first = count * task.control_dt_s
                if first is not None or moment.step.terminated[0]:
                    break
            on_end(episode, env.start_of(0))
            trial.sim_s += count * task.control_dt_s
            trial.success.append(first is not None)
            trial.first_success_s.append(first)
            trial.terms = {name: value / count for name, value in totals.items()}
    finally:
        env.close()
    return trial
