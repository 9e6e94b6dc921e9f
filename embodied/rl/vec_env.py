"""Stable-Baselines3's `VecEnv` over the batch engine, rewarded by a program.

Observations are standardised and rewards divided by the running scale of the discounted return (as SB3's
`VecNormalize` does), both inside, so that one snapshot holds everything. Statistics stop moving after
`freeze_after` steps where the algorithm keeps old transitions (SAC).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from embodied.core.errors import RewardCodeError
from embodied.core.reward import BoundReward
from embodied.rl.normalizer import RunningMoments
from embodied.sim.batch_env import BatchEnv, Step

_CLIP = 10.0
_RECHECK_EVERY = 200


class RewardVecEnv(VecEnv):
    """N environments, one reward program.

    Args:
        env: the batch of episodes.
        reward: the bound program; may be set later (`env.reward = ...`) but before the first step that counts.
        gamma: discount, for the scale of returns.
        normalize_observations: standardise observations.
        normalize_rewards: divide rewards by the running standard deviation of the discounted return.
        freeze_after: environment steps after which the statistics stop moving; None for never.
        stagger_starts: let the first episodes end at random times, so that batches hold all phases of an episode.
    """

    def __init__(
        self,
        env: BatchEnv,
        reward: BoundReward | None,
        *,
        gamma: float,
        normalize_observations: bool = True,
        normalize_rewards: bool = True,
        freeze_after: int | None = None,
        stagger_starts: bool = True,
    ) -> None:
        task = env.task
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (task.observation_size,), np.float32)
        action_space = gymnasium.spaces.Box(-1.0, 1.0, (task.action_size,), np.float32)
        self.env, self.reward, self.gamma = env, reward, gamma
        super().__init__(env.n_envs, observation_space, action_space)
        self.normalize_observations, self.normalize_rewards = normalize_observations, normalize_rewards
        self.freeze_after, self.stagger_starts = freeze_after, stagger_starts
        self.observation_moments = RunningMoments((task.observation_size,))
        self.return_moments = RunningMoments(())
        self._returns = np.zeros(env.n_envs)
        self._steps = 0
        self._action: np.ndarray | None = None
        self.last_step: Step | None = None
        self.statistics = EpisodeStatistics(env.n_envs)

    def reset(self) -> np.ndarray:
        """Starts N episodes; returns standardised observations `(N, D)`."""
        self._returns[:] = 0.0
        self.statistics = EpisodeStatistics(self.num_envs)
        return self._normalized(self.env.reset(stagger=self.stagger_starts))

    def step_async(self, actions: np.ndarray) -> None:
        """Keeps the actions `(N, A)` for `step_wait`."""
        self._action = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Steps; the reward is that of the world after the action."""
        assert self._action is not None, "step_async comes first"
        self.last_step = step = self.env.step(self._action)
        total, terms = self._rewarded(step)
        done = step.terminated | step.truncated
        self.statistics.add(total, terms, step.success, done)
        self._steps += self.num_envs
        learning = self.freeze_after is None or self._steps <= self.freeze_after
        if learning:
            self.observation_moments.update(step.observation)
        rewards = self._scaled(total, done, learning)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        final = self._normalized(step.final_observation, update=False)
        for row in np.flatnonzero(done):
            infos[row] = {"terminal_observation": final[row], "TimeLimit.truncated": bool(step.truncated[row])}
        return self._normalized(step.observation, update=False), rewards, done, infos

    def _rewarded(self, step: Step) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        assert self.reward is not None, "a reward comes first"
        try:
            total, terms = self.reward(step.world, step.action)
        except RewardCodeError as error:
            raise self._located(error, step) from None
        if not self.reward.by_row and self._steps // self.num_envs % _RECHECK_EVERY == 0:
            row = self._steps // self.num_envs // _RECHECK_EVERY % self.num_envs
            single, _ = self.reward(step.world.rows(row), step.action[row])
            if not np.allclose(single, total[row], rtol=1e-6, atol=1e-9):
                raise RewardCodeError(
                    f"the program is not consistent over the batch: environment {row} gives {total[row]:.6g} in the"
                    f" batch and {float(single):.6g} alone, at step {self._steps}"
                )
        return total, terms

    def _located(self, error: RewardCodeError, step: Step) -> RewardCodeError:
        """The error with the first environment whose state, evaluated alone, shows it too."""
        assert self.reward is not None
        for row in range(self.num_envs):
            one = slice(row, row + 1)
            try:
                self.reward(step.world.rows(one), step.action[one])
            except RewardCodeError as alone:
                time_s = float(step.world.quantity("time")[row])
                found = RewardCodeError(f"{alone.message} (in environment {row}, at time {time_s:g} s)", alone.line)
                found.env = row  # type: ignore[attr-defined]
                return found
        return error

    def _scaled(self, total: np.ndarray, done: np.ndarray, learning: bool) -> np.ndarray:
        if not self.normalize_rewards:
            return total.astype(np.float32)
        if learning:
            self._returns = self._returns * self.gamma + total
            self.return_moments.update(self._returns)
            self._returns[done] = 0.0
        return np.clip(total / self.return_moments.std, -_CLIP, _CLIP).astype(np.float32)

    def _normalized(self, observation: np.ndarray, update: bool = True) -> np.ndarray:
        if self.normalize_observations:
            if update:
                self.observation_moments.update(observation)
            moments = self.observation_moments
            observation = np.clip((observation - moments.mean) / moments.std, -_CLIP, _CLIP)
        return observation.astype(np.float32)

    def standardized(self, observation: np.ndarray) -> np.ndarray:
        """Observations `(n, D)` as the learner sees them; the statistics stay as they are."""
        return self._normalized(observation, update=False)

    def get_state(self) -> dict[str, Any]:
        """Everything that the future depends on, as arrays and plain values (see `BatchEnv.get_state`)."""
        state = self.env.get_state()
        arrays = dict(state["arrays"])
        arrays |= {f"observation_moments/{k}": v for k, v in self.observation_moments.get_state().items()}
        arrays |= {f"return_moments/{k}": v for k, v in self.return_moments.get_state().items()}
        arrays["returns"] = self._returns.copy()
        arrays |= {f"statistics/{k}": v for k, v in self.statistics.get_state().items()}
        return {**state, "arrays": arrays, "vec_steps": self._steps}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `get_state`."""
        arrays = state["arrays"]
        self.env.set_state(state)
        for name, moments in (
            ("observation_moments", self.observation_moments),
            ("return_moments", self.return_moments),
        ):
            moments.set_state({k: arrays[f"{name}/{k}"] for k in ("mean", "var", "count")})
        self._returns, self._steps = np.array(arrays["returns"]), int(state["vec_steps"])
        self.statistics.set_state({k.partition("/")[2]: v for k, v in arrays.items() if k.startswith("statistics/")})

    def close(self) -> None:
        """Ends the engine's threads."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """SB3 asks for `render_mode`; nothing else is per environment."""
        return [getattr(self.env, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not supported: there is no Python object per environment."""
        raise AttributeError(f"RewardVecEnv has no per-environment attribute '{attr_name}'")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Not supported: there is no Python object per environment."""
        raise AttributeError(f"RewardVecEnv has no per-environment method '{method_name}'")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Nothing is wrapped."""
        return [False] * self.num_envs


class EpisodeStatistics:
    """Success, return and reward terms of the episodes that ended since the last `take`."""

    def __init__(self, n_envs: int) -> None:
        self._return, self._length, self._ever = np.zeros(n_envs), np.zeros(n_envs), np.zeros(n_envs, dtype=bool)
        self._ended: list[tuple[float, float, bool, bool]] = []
        self._terms: dict[str, float] = {}
        self._steps = 0

    def add(self, total: np.ndarray, terms: Mapping[str, np.ndarray], success: np.ndarray, done: np.ndarray) -> None:
        """Adds one step of all environments; arrays `(N,)`."""
        self._return += total
        self._length += 1
        self._ever |= success
        self._steps += 1
        for name, value in terms.items():
            self._terms[name] = self._terms.get(name, 0.0) + float(value.mean())
        rows = np.flatnonzero(done)
        for row in rows:
            self._ended.append((self._return[row], self._length[row], self._ever[row], bool(success[row])))
        self._return[rows], self._length[rows], self._ever[rows] = 0.0, 0.0, False

    def take(self) -> dict[str, Any]:
        """The means since the last call, as plain values; success is over episodes that ended."""
        row: dict[str, Any] = {"terms": {k: v / max(1, self._steps) for k, v in self._terms.items()}}
        if self._ended:
            table = np.array(self._ended, dtype=float)
            keys = ("return", "length", "success", "success_at_end")
            row |= {key: float(table[:, i].mean()) for i, key in enumerate(keys)}
            row["episodes"] = len(table)
        self._ended, self._terms, self._steps = [], {}, 0
        return row

    def get_state(self) -> dict[str, np.ndarray]:
        """Arrays to save (the running episodes; means not yet taken are dropped)."""
        return {"return": self._return.copy(), "length": self._length.copy(), "ever": self._ever.copy()}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Inverse of `get_state`."""
        self._return, self._length = np.array(state["return"]), np.array(state["length"])
        self._ever = np.array(state["ever"], dtype=bool)
