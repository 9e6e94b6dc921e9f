"""Known good and known bad episodes of a task: what a reward program is tried and screened on.

A trusted process plays the scripted expert (with and without noise), random actions and no action at all, and
keeps every quantity of every step. Reward code sees these recordings only, inside its lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from embodied.core.quantities import Schema
from embodied.core.world import World
from embodied.sim.batch_env import BatchEnv
from embodied.sim.task import Task

POLICIES = ("expert", "noisy_expert", "random", "zero")


@dataclass(frozen=True)
class Rollouts:
    """Recorded episodes, all of the same length.

    Attributes:
        values: quantity path -> `(T + 1, E, *shape)`; step 0 is the start.
        actions: `(T, E, A)`.
        policy: name of the policy that played each episode, `(E,)`.
        success: whether the task's predicate held at some step, bool `(E,)`.
        alive: whether the episode was still running at each step, bool `(T, E)`.
    """

    values: dict[str, np.ndarray]
    actions: np.ndarray
    policy: np.ndarray
    success: np.ndarray
    alive: np.ndarray

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Few flat arrays for the way into a locked process; the schema's order tells the quantities apart."""
        steps, episodes = self.actions.shape[:2]
        flat = [v.reshape(steps + 1, episodes, -1) for v in self.values.values()]
        index = np.array([POLICIES.index(p) for p in self.policy])
        return {
            "values": np.concatenate(flat, axis=-1),
            "actions": self.actions,
            "policy": index,
            "success": self.success,
            "alive": self.alive,
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray], schema: Schema) -> Rollouts:
        """Inverse of `to_arrays`."""
        values, start = {}, 0
        for path, quantity in schema.quantities.items():
            size = int(np.prod(quantity.shape))
            part = arrays["values"][..., start : start + size]
            values[path], start = part.reshape(*part.shape[:-1], *quantity.shape), start + size
        policy = np.array([POLICIES[int(i)] for i in arrays["policy"]])
        return Rollouts(values, arrays["actions"], policy, arrays["success"].astype(bool), arrays["alive"].astype(bool))

    def worlds(self, schema: Schema) -> World:
        """All steps of all episodes as one world of batch shape `(T * E,)`, with their previous worlds."""
        after = {k: v[1:].reshape(-1, *v.shape[2:]) for k, v in self.values.items()}
        before = {k: v[:-1].reshape(-1, *v.shape[2:]) for k, v in self.values.items()}
        return World(schema, after, World(schema, before))


def record_rollouts(task: Task, *, seed: int, episodes: int = 8, noise: float = 0.4) -> Rollouts:
    """Plays `episodes` episodes with each policy (those of the expert only where the task has one).

    Args:
        task: the task.
        seed: root seed.
        episodes: episodes per policy.
        noise: standard deviation of the noisy expert's action noise.
    """
    names = POLICIES if task.has_expert else POLICIES[2:]
    policy = np.repeat(np.array(names), episodes)
    n, rng = len(policy), np.random.default_rng(seed)
    env = BatchEnv(task, n_envs=n, seed=seed)
    env.reset()
    expert = task.expert(n) if task.has_expert else None
    if expert is not None:
        expert.reset(np.arange(n))
    alive, success = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
    worlds, actions, running = [env.world.values()], [], []
    for _ in range(task.episode_steps):
        action = np.zeros((n, task.action_size))
        if expert is not None:
            planned = expert.act(env.world)
            action[policy == "expert"] = planned[policy == "expert"]
            shaky = policy == "noisy_expert"
            action[shaky] = planned[shaky] + noise * rng.normal(size=action[shaky].shape)
        chance = policy == "random"
        action[chance] = rng.uniform(-1, 1, action[chance].shape)
        step = env.step(action)
        running.append(alive.copy())
        success |= alive & step.success
        worlds.append(step.world.values())
        actions.append(step.action)
        alive = alive & ~(step.terminated | step.truncated)
        if not alive.any():
            break
    env.close()
    values = {path: np.stack([w[path] for w in worlds]) for path in task.schema.quantities}
    return Rollouts(values, np.stack(actions), policy, success, np.stack(running))
