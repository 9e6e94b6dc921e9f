"""Simulation driven by a planner, in step with it: nothing depends on the clock, so a run repeats bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from embodied.control.planner import Plan, SamplingPlanner
from embodied.core.errors import ConfigError
from embodied.sim.batch_env import BatchEnv, Step
from embodied.sim.task import Start


@dataclass(frozen=True)
class Moment:
    """One control step of a driven episode.

    Attributes:
        start: state, parameters and last control before the step.
        step: what the step gave, one environment.
        plan: the plan that it followed.
    """

    start: Start
    step: Step
    plan: Plan


def drive(env: BatchEnv, planner: SamplingPlanner, n_steps: int, *, replan_every: int = 1) -> Iterator[Moment]:
    """Plays one environment under a planner, from where it stands.

    Args:
        env: one environment of the planner's task, reset before.
        planner: is not reset here, so that an episode can be continued.
        n_steps: control steps.
        replan_every: control steps that follow one plan.

    Raises:
        ConfigError: more than one environment, or another task.
    """
    if env.n_envs != 1 or env.task.name != planner.task.name or replan_every < 1:
        raise ConfigError(
            f"drive takes one environment of '{planner.task.name}' and replan_every of at least 1, got"
            f" {env.n_envs} of '{env.task.name}' and {replan_every}"
        )
    plan: Plan | None = None
    for index in range(n_steps):
        start = env.start_of(0)
        t_s = float(start.states[0, 0])
        if plan is None or index % replan_every == 0:
            plan = planner.plan(start, env.t0)
        step = env.step(plan.action(t_s, env.task.control_dt_s)[None], autoreset=False)
        yield Moment(start, step, plan)
