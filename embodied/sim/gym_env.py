"""One environment as Gymnasium's `Env`: for trainers and tools that speak no batches."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np

from embodied.core.errors import ConfigError
from embodied.core.reward import BoundReward
from embodied.sim.batch_env import BatchEnv
from embodied.sim.randomization import Randomization
from embodied.sim.render import Renderer
from embodied.sim.task import Task


class TaskEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One episode of one task at a time.

    Unlike `BatchEnv` it does not restart by itself: after `terminated` or `truncated` comes `reset`, as
    Gymnasium has it. `info["success"]` is the task's own predicate, `info["reward_terms"]` the reward by
    term.

    Args:
        task: the task.
        reward: a bound reward program; None takes the task's expert reward.
        randomization: domain randomisation, or None.
        render_mode: `rgb_array` or None.
        camera: camera of `render`, as in `Renderer`.
        width: picture width [pixels].
        height: picture height [pixels].
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}

    def __init__(
        self,
        task: Task,
        reward: BoundReward | None = None,
        *,
        randomization: Randomization | None = None,
        render_mode: str | None = None,
        camera: str | None = None,
        width: int = 320,
        height: int = 240,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode={render_mode!r}; this environment knows 'rgb_array' and None")
        self.task, self.render_mode = task, render_mode
        self.reward = task.expert_reward().bind(reviewed=True) if reward is None else reward
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / task.control_dt_s)}
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (task.observation_size,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (task.action_size,), np.float32)
        self._picture = {"camera": camera, "width": width, "height": height}
        self._randomization = randomization
        self._env: BatchEnv | None = None
        self._renderer: Renderer | None = None
        self._ended = True

    @property
    def batch(self) -> BatchEnv:
        """The batch of one behind this environment.

        Raises:
            ConfigError: `reset` was not called yet.
        """
        if self._env is None:
            raise ConfigError("call reset() first")
        return self._env

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode; the same seed gives the same episode.

        Args:
            seed: root of all randomness from here on; None goes on with the present stream.
            options: none are known.

        Returns:
            `(observation (D,) float32, info)`.
        """
        super().reset(seed=seed)
        if self._env is None:
            first = int(self.np_random.integers(2**31)) if seed is None else seed
            self._env = BatchEnv(self.task, n_envs=1, seed=first, randomization=self._randomization)
        elif seed is not None:
            self._env.seed(seed)
        observation = self._env.reset()
        self._ended = False
        return observation[0].astype(np.float32), {"success": False}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Applies one action `(A,)` in [-1, 1]; the reward is that of the world after it."""
        if self._ended:
            raise ConfigError("the episode has ended (or none has begun): call reset() first")
        step = self.batch.step(np.asarray(action, dtype=np.float64)[None], autoreset=False)
        total, terms = self.reward(step.world, step.action)
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        self._ended = terminated or truncated
        info = {
            "success": bool(step.success[0]),
            "reward_terms": {name: float(value[0]) for name, value in terms.items()},
        }
        return step.final_observation[0].astype(np.float32), float(total[0]), terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """The present state as a picture `(H, W, 3)` uint8; None without a render mode."""
        if self.render_mode is None:
            return None
        if self._renderer is None:
            self._renderer = Renderer(self.task, **self._picture)
        start = self.batch.start_of(0)
        parameters = {name: value[0] for name, value in start.parameters.items()}
        control = None if start.control is None else start.control[0]
        return self._renderer.render(start.states[0], parameters, self.batch.engine.model_of(0), control=control)

    def close(self) -> None:
        """Frees the engine and the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        if self._env is not None:
            self._env.close()
