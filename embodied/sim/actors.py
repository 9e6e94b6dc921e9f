"""Who acts in a simulation without having learnt anything: chance, nobody, the scripted expert."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from embodied.core.world import World
from embodied.sim.task import Task

Actor = Callable[[np.ndarray, World], np.ndarray]  # (observation (N, D), world of N) -> actions (N, A) in [-1, 1]


def random_actor(task: Task, seed: int) -> Actor:
    """Uniform actions."""
    rng = np.random.default_rng(seed)
    return lambda observation, world: rng.uniform(-1, 1, (len(observation), task.action_size))


def zero_actor(task: Task) -> Actor:
    """No motion commanded."""
    return lambda observation, world: np.zeros((len(observation), task.action_size))


def expert_actor(task: Task, n: int, noise: float = 0.0, seed: int = 0) -> Actor:
    """The scripted expert, optionally with normal noise on its actions."""
    expert, rng = task.expert(n), np.random.default_rng(seed)
    expert.reset(np.arange(n))

    def act(observation: np.ndarray, world: World) -> np.ndarray:
        action = expert.act(world)
        return np.clip(action + noise * rng.normal(size=action.shape), -1, 1)

    return act
