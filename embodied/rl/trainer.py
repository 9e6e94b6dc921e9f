"""The training worker: environments, reward program and learner together in one locked process.

`prepare` runs before the lock and never touches model-written code; `run` runs after it and binds the program.
Messages to the parent: `progress`, `policy` (a new actor on disk), `fault`, `done`. The parent decides on nothing
that these messages claim: success is measured again by the trusted evaluator.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from embodied.core.build import build
from embodied.core.errors import DivergenceError, RewardCodeError
from embodied.core.files import write_bytes
from embodied.core.reward import BoundReward, RewardProgram
from embodied.core.world import World
from embodied.rl.algorithms import actor, make_algorithm
from embodied.rl.snapshot import load_snapshot, newest_snapshot, save_snapshot, weights_sha256
from embodied.rl.vec_env import RewardVecEnv
from embodied.sim.batch_env import BatchEnv


@dataclass
class Context:
    """What `prepare` built."""

    request: Mapping[str, Any]
    env: RewardVecEnv
    algorithm: BaseAlgorithm


def prepare(request: Mapping[str, Any]) -> Context:
    """Builds everything and runs it once with a zero reward, on one thread, before the lock.

    Args:
        request: `task`, `randomization` (configurations), `algorithm`, `settings`, `seed`, `n_envs`,
            `n_threads`, `total_steps`, `checkpoint_every_steps`, `policy_every_steps`, `folder`, `program`,
            `trusted_packages`, and the vec-env switches.
    """
    torch.set_num_threads(1)
    env = _vec_env(request)
    warm = _vec_env(request)
    warm.env.engine.n_threads = 0
    warm.reward = BoundReward(_zero_reward, {}, by_row=False)
    tiny = {**request["settings"]}
    tiny |= {"n_steps": 2, "batch_size": 2 * warm.num_envs, "n_epochs": 1} if request["algorithm"] == "ppo" else {}
    tiny |= {"learning_starts": 0, "buffer_size": 4 * warm.num_envs} if request["algorithm"] == "sac" else {}
    algorithm = make_algorithm(request["algorithm"], tiny, warm, 0)
    algorithm.learn(4 * warm.num_envs)
    warm.close()
    return Context(request, env, make_algorithm(request["algorithm"], request["settings"], env, request["seed"]))


def run(context: Context, channel: Any) -> None:
    """Trains inside the lock, from the newest snapshot if there is one."""
    request, env, algorithm = context.request, context.env, context.algorithm
    folder = Path(request["folder"])
    program = RewardProgram.from_json(request["program"])
    try:
        env.reward = program.bind()
        snapshot = newest_snapshot(folder / "snapshots")
        if snapshot is not None:
            load_snapshot(snapshot, algorithm, env)
            channel.send({"kind": "resumed", "step": algorithm.num_timesteps, "snapshot": snapshot.name})
        remaining = request["total_steps"] - algorithm.num_timesteps
        if remaining > 0:
            callback = _Progress(request, env, channel, folder)
            algorithm.learn(remaining, callback=callback, reset_num_timesteps=snapshot is None)
    except _Stopped:
        channel.send({"kind": "stopped", "step": algorithm.num_timesteps})
        return
    except (RewardCodeError, DivergenceError) as error:
        _report_fault(error, env, algorithm, folder, channel)
        return
    digest = actor(algorithm, env).save(folder / "policy_last")
    channel.send(
        {
            "kind": "done",
            "step": algorithm.num_timesteps,
            "weights_sha256": weights_sha256(algorithm),
            "policy_sha256": digest,
        }
    )


class _Stopped(Exception):
    """The parent asked to stop; a snapshot has been written."""


class _Progress(BaseCallback):
    """Sends progress and writes snapshots at rollout boundaries, where training can resume exactly."""

    def __init__(self, request: Mapping[str, Any], env: RewardVecEnv, channel: Any, folder: Path) -> None:
        super().__init__()
        self.request, self.env, self.channel, self.folder = request, env, channel, folder
        self._started, self._first = time.monotonic(), True
        self._begin = self._sent = self._saved = self._exported = 0

    def _on_rollout_start(self) -> None:
        step = self.model.num_timesteps
        if self.channel.stop_requested:
            save_snapshot(self.folder / "snapshots", self.model, self.env)
            raise _Stopped
        if self._first:
            self._first, self._begin = False, step
            self._sent = self._saved = self._exported = step
            return
        if step - self._sent >= self.request["progress_every_steps"]:
            self._sent = step
            rate = (step - self._begin) / max(1e-9, time.monotonic() - self._started)
            row = {"kind": "progress", "step": step, "steps_per_s": rate, **self.env.statistics.take()}
            self.channel.send(row)
        if step - self._exported >= self.request["policy_every_steps"]:
            self._exported = step
            name = f"policies/step_{step:010d}"
            digest = actor(self.model, self.env).save(self.folder / name)
            self.channel.send({"kind": "policy", "step": step, "path": name, "sha256": digest})
        if step - self._saved >= self.request["checkpoint_every_steps"]:
            self._saved = step
            path = save_snapshot(self.folder / "snapshots", self.model, self.env)
            self.channel.send({"kind": "checkpoint", "step": step, "path": path.name})

    def _on_step(self) -> bool:
        self.channel.beat()
        return True


def _vec_env(request: Mapping[str, Any]) -> RewardVecEnv:
    trusted = request.get("trusted_packages", ())
    task = build(request["task"], trusted_packages=trusted)
    randomization = build(request["randomization"]) if request.get("randomization") else None
    env = BatchEnv(
        task,
        n_envs=request["n_envs"],
        seed=request["seed"],
        n_threads=request["n_threads"],
        randomization=randomization,
    )
    return RewardVecEnv(
        env,
        None,
        gamma=request["settings"].get("gamma", 0.99),
        normalize_observations=request["normalize_observations"],
        normalize_rewards=request["normalize_rewards"],
        freeze_after=request.get("freeze_after"),
    )


def _zero_reward(world: World, action: np.ndarray) -> np.ndarray:
    return np.zeros(world.batch_shape)


def _report_fault(
    error: Exception, env: RewardVecEnv, algorithm: BaseAlgorithm, folder: Path, channel: Any
) -> None:
    """Saves step, environment and state of a divergence or a bad reward, and tells the parent."""
    states = env.env.engine.states
    packed = io.BytesIO()
    np.savez(packed, states=states, action=np.asarray(env._action))
    write_bytes(folder / "fault_states.npz", packed.getvalue())
    channel.send(
        {
            "kind": "fault",
            "error": type(error).__name__,
            "message": str(error),
            "line": getattr(error, "line", None),
            "env": getattr(error, "env", None),
            "step": algorithm.num_timesteps,
            "states": "fault_states.npz",
        }
    )
