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
from embodied.core.errors import DivergenceError, EmbodiedError
from embodied.core.files import write_bytes
from embodied.core.reward import BoundReward, RewardProgram
from embodied.core.world import World
from embodied.data.episode import Episode
from embodied.rl.algorithms import actor, make_algorithm
from embodied.rl.demonstrations import fill_buffer, load_demonstrations
from embodied.rl.snapshot import load_snapshot, newest_snapshot, save_snapshot, weights_sha256
from embodied.rl.vec_env import RewardVecEnv
from embodied.sim.batch_env import BatchEnv
from embodied.sim.building import build_task


@dataclass
class Context:
    """What `prepare` built."""

    request: Mapping[str, Any]
    env: RewardVecEnv
    algorithm: BaseAlgorithm
    demonstrations: list[Episode]


def prepare(request: Mapping[str, Any]) -> Context:
    """Builds everything and runs it once with a zero reward, on one thread, before the lock.

    Args:
        request: `task`, `randomization` (configurations), `algorithm`, `settings`, `seed`, `n_envs`,
            `n_threads`, `total_steps`, `checkpoint_every_steps`, `policy_every_steps`, `folder`, `program`,
            `trusted_packages`, `demonstrations` (folders of episodes), and the vec-env switches.
    """
    torch.set_num_threads(1)
    env = _vec_env(request)
    warm = _vec_env({**request, "n_threads": 0})
    warm.reward = BoundReward(_zero_reward, {}, by_row=False)
    tiny = {**request["settings"], "learning_rate": 1e-4}
    tiny |= {"n_steps": 2, "batch_size": 2 * warm.num_envs, "n_epochs": 1} if request["algorithm"] == "ppo" else {}
    tiny |= {"learning_starts": 0, "buffer_size": 4 * warm.num_envs} if request["algorithm"] == "sac" else {}
    algorithm = make_algorithm(request["algorithm"], tiny, warm, 0)
    algorithm.learn(4 * warm.num_envs)
    warm.close()
    algorithm = make_algorithm(request["algorithm"], request["settings"], env, request["seed"])
    return Context(request, env, algorithm, load_demonstrations(request.get("demonstrations", ()), env.env.task))


def run(context: Context, channel: Any) -> None:
    """Trains inside the lock, from the newest snapshot if there is one."""
    request, env, algorithm = context.request, context.env, context.algorithm
    folder = Path(request["folder"])
    try:
        _train(context, folder, channel)
    except _Stopped:
        channel.send({"kind": "stopped", "step": algorithm.num_timesteps})
    except (EmbodiedError, OSError) as error:
        _report_fault(error, env, algorithm, folder, channel)
    except ValueError as error:
        if "Expected parameter" not in str(error):  # torch's words for a distribution with NaN or infinity
            raise
        _report_fault(_diverged(), env, algorithm, folder, channel)


def _train(context: Context, folder: Path, channel: Any) -> None:
    """From the newest snapshot, or from the start, to the last step."""
    request, env, algorithm = context.request, context.env, context.algorithm
    env.reward = RewardProgram.from_json(request["program"]).bind()
    snapshot = newest_snapshot(folder / "snapshots")
    if snapshot is not None:
        load_snapshot(snapshot, algorithm, env)
        channel.send({"kind": "resumed", "step": algorithm.num_timesteps, "snapshot": snapshot.name})
    elif context.demonstrations:
        n = fill_buffer(algorithm, env, context.demonstrations)
        channel.send({"kind": "demonstrations", "step": 0, "transitions": n})
    remaining = request["total_steps"] - algorithm.num_timesteps
    if remaining > 0:
        callback = _Progress(request, env, channel, folder)
        algorithm.learn(remaining, callback=callback, reset_num_timesteps=snapshot is None)
    if not _finite(algorithm):
        raise _diverged()
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
        self._started = time.monotonic()
        self._begin: int | None = None
        self._before = 0

    def _on_rollout_start(self) -> None:
        step = self.model.num_timesteps
        if not _finite(self.model):
            raise _diverged()
        if self._begin is None:
            self._begin = step
        else:
            self._report(step, self._begin)
        self._before = step
        if self.channel.stop_requested:
            save_snapshot(self.folder / "snapshots", self.model, self.env)
            raise _Stopped

    def _report(self, step: int, begin: int) -> None:
        """Whatever is due at this boundary."""
        if self._due("progress_every_steps", step):
            rate = (step - begin) / max(1e-9, time.monotonic() - self._started)
            row = {"kind": "progress", "step": step, "steps_per_s": rate, **self.env.statistics.take()}
            self.channel.send(row)
        if self._due("policy_every_steps", step):
            name = f"policies/step_{step:010d}"
            digest = actor(self.model, self.env).save(self.folder / name)
            self.channel.send({"kind": "policy", "step": step, "path": name, "sha256": digest})
        if self._due("checkpoint_every_steps", step):
            path = save_snapshot(self.folder / "snapshots", self.model, self.env)
            self.channel.send({"kind": "checkpoint", "step": step, "path": path.name})

    def _due(self, every: str, step: int) -> bool:
        """Whether a multiple of `every` was passed: the step alone decides, so a resumed run does the same."""
        return step // self.request[every] > self._before // self.request[every]

    def _on_step(self) -> bool:
        self.channel.beat()
        return True


def _vec_env(request: Mapping[str, Any]) -> RewardVecEnv:
    trusted = request.get("trusted_packages", ())
    task = build_task(request["task"], trusted_packages=trusted)
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


def _finite(algorithm: BaseAlgorithm) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in algorithm.policy.parameters())


def _diverged() -> DivergenceError:
    return DivergenceError(
        "the network's weights left the finite numbers. Lower trainer.settings.learning_rate, or bring the reward"
        " to a size between 0.1 and 10 per step"
    )


def _report_fault(error: Exception, env: RewardVecEnv, algorithm: BaseAlgorithm, folder: Path, channel: Any) -> None:
    """Saves states, action and world of the step at which training failed, and tells the parent."""
    arrays = {"states": env.env.engine.states, "action": np.asarray(env._action, dtype=float)}
    if env.last_step is not None:
        arrays |= {f"world/{path}": value for path, value in env.last_step.world.values().items()}
    states: str | None = "fault_states.npz"
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    try:
        write_bytes(folder / "fault_states.npz", packed.getvalue())
    except OSError:  # the disk is full, which may be the fault itself
        states = None
    channel.send(
        {
            "kind": "fault",
            "error": type(error).__name__,
            "message": str(error),
            "errno": getattr(error, "errno", None),
            "line": getattr(error, "line", None),
            "env": getattr(error, "env", None),
            "step": algorithm.num_timesteps,
            "states": states,
        }
    )
