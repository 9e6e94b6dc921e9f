"""Recorded episodes of a planner, a policy or a person, as the first transitions of an off-policy replay buffer.

Rewards are those of the program that is trained with, evaluated on the recorded states: an episode serves any program.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from embodied.core.errors import ConfigError
from embodied.core.world import World
from embodied.data.episode import Episode, load_episode
from embodied.rl.vec_env import RewardVecEnv
from embodied.sim.replay import worlds_of
from embodied.sim.task import Task


def load_demonstrations(folders: Sequence[str | Path], task: Task) -> list[Episode]:
    """Reads recorded episodes of one task.

    Raises:
        CheckpointError: a folder holds no whole episode.
        ConfigError: an episode is of another task, or of a model that was changed.
    """
    episodes = [load_episode(Path(folder)) for folder in folders]
    for folder, episode in zip(folders, episodes, strict=True):
        if episode.task != task.name or episode.actions.shape[1:] != (task.action_size,):
            raise ConfigError(f"demonstration {folder} is of '{episode.task}', not of '{task.name}'")
        if episode.edits:
            raise ConfigError(f"demonstration {folder} was recorded with randomised models; record it without")
    return episodes


def episode_worlds(episode: Episode, task: Task) -> World:
    """The worlds after each action, batch shape `(T,)`, with their previous worlds; sensors are read exactly."""
    return worlds_of(task, episode.states, episode.controls, episode.parameters, episode.t0_s)


def fill_buffer(algorithm: Any, env: RewardVecEnv, episodes: Sequence[Episode]) -> int:
    """Puts episodes into the replay buffer; gives the number of transitions.

    The last few are left out where they do not fill a row of the buffer (one a parallel environment).

    Raises:
        ConfigError: the algorithm has no replay buffer.
        RewardCodeError: the program fails on a recorded state.
    """
    if not isinstance(algorithm, OffPolicyAlgorithm) or algorithm.replay_buffer is None:
        raise ConfigError("demonstrations go into a replay buffer: use trainer=sac")
    assert env.reward is not None
    columns: dict[str, list[np.ndarray]] = {"before": [], "after": [], "action": [], "reward": [], "end": []}
    task = env.env.task
    for episode in episodes:
        worlds = episode_worlds(episode, task)
        actions = np.clip(episode.actions, -1.0, 1.0)
        total, _ = env.reward(worlds, actions)
        columns["before"].append(task.observe(worlds.previous))
        columns["after"].append(task.observe(worlds))
        columns["action"].append(actions)
        columns["reward"].append(total)
        columns["end"].append(np.asarray(task.terminated(worlds), dtype=bool))
    table = {name: np.concatenate(parts) for name, parts in columns.items()}
    env.observation_moments.update(table["after"])
    before, after = env.standardized(table["before"]), env.standardized(table["after"])
    rows = len(before) // env.num_envs
    for index in range(rows):
        some = slice(index * env.num_envs, (index + 1) * env.num_envs)
        algorithm.replay_buffer.add(
            before[some],
            after[some],
            table["action"][some].astype(np.float32),
            table["reward"][some].astype(np.float32),
            table["end"][some],
            [{} for _ in range(env.num_envs)],
        )
    return rows * env.num_envs
