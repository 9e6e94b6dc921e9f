"""The trusted evaluator: never loads reward code, measures success with the task's own predicate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied.core.errors import ConfigError
from embodied.core.stats import wilson_interval
from embodied.core.world import World
from embodied.sim.actors import Actor
from embodied.sim.batch_env import BatchEnv
from embodied.sim.randomization import Randomization
from embodied.sim.task import Task


@dataclass(frozen=True)
class Evaluation:
    """Outcome of fresh episodes.

    Attributes:
        success: whether the predicate held at some step, per episode, bool `(E,)`.
        success_at_end: whether it held at the last step, bool `(E,)`.
        first_success_step: step of the first success, -1 where there was none, `(E,)`.
        seed: root seed of the starts.
    """

    success: np.ndarray
    success_at_end: np.ndarray
    first_success_step: np.ndarray
    seed: int

    @property
    def rate(self) -> float:
        """Share of episodes with success at some step."""
        return float(self.success.mean())

    def to_json(self) -> dict[str, Any]:
        """Plain data with the 95% Wilson interval."""
        low, high = wilson_interval(int(self.success.sum()), len(self.success))
        return {
            "rate": self.rate,
            "low": low,
            "high": high,
            "episodes": len(self.success),
            "at_end": float(self.success_at_end.mean()),
            "seed": self.seed,
        }


def evaluate(
    task: Task,
    actor: Actor,
    *,
    episodes: int,
    seed: int,
    n_threads: int = 0,
    randomization: Randomization | None = None,
    record: list[World] | None = None,
) -> Evaluation:
    """Plays `episodes` fresh episodes side by side and measures success.

    Args:
        task: the task.
        actor: `(observation (E, D), world) -> action (E, A)`.
        episodes: E.
        seed: root seed of the starts, disjoint from training's.
        n_threads: threads of the engine.
        randomization: domain randomisation, or None.
        record: if given, the worlds of all steps are appended to it.
    """
    if episodes < 1:
        raise ConfigError(f"episodes={episodes} must be at least 1")
    env = BatchEnv(task, n_envs=episodes, seed=seed, n_threads=n_threads, randomization=randomization)
    try:
        observation = env.reset()
        alive = np.ones(episodes, dtype=bool)
        ever, at_end = np.zeros(episodes, dtype=bool), np.zeros(episodes, dtype=bool)
        first = np.full(episodes, -1)
        for index in range(task.episode_steps):
            step = env.step(actor(observation, env.world))
            if record is not None:
                record.append(step.world)
            hit = alive & step.success
            first[hit & ~ever] = index
            ever |= hit
            at_end[alive] = step.success[alive]
            alive &= ~(step.terminated | step.truncated)
            observation = step.observation
            if not alive.any():
                break
    finally:
        env.close()
    return Evaluation(ever, at_end, first, seed)


def evaluate_seeds(task: Task, actor: Actor, seeds: Sequence[int]) -> list[bool]:
    """Success of one episode per seed, each drawn alone: the starts that a deployment draws."""
    found = []
    for seed in seeds:
        found.append(bool(evaluate(task, actor, episodes=1, seed=seed).success[0]))
    return found
