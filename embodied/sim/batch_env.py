"""N episodes of one task side by side: starts, steps, world reads, success, truncation, exact state.

There is no reward here; whoever needs one evaluates a `RewardProgram` on the returned world. An environment
that ended starts its next episode in the same `step` (same-step autoreset); what it ended with is in the
returned `Step`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied.core.errors import ConfigError
from embodied.core.world import World
from embodied.sim.engine import BatchEngine
from embodied.sim.randomization import Randomization
from embodied.sim.task import Start, Task


@dataclass(frozen=True)
class Step:
    """What one control step gave.

    Attributes:
        world: the state after the action, before any new start; batch shape `(N,)`.
        action: the action that was applied, clipped to [-1, 1], `(N, A)`.
        observation: what the policy acts on next, `(N, D)` (of the new episode where one began).
        final_observation: observation of `world`, `(N, D)`; differs from `observation` only where one ended.
        success: bool `(N,)`, the task's predicate on `world`.
        terminated: bool `(N,)`.
        truncated: bool `(N,)`.
    """

    world: World
    action: np.ndarray
    observation: np.ndarray
    final_observation: np.ndarray
    success: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class BatchEnv:
    """N environments of one task on the batch engine.

    Args:
        task: the task.
        n_envs: N.
        seed: root of all randomness of the starts.
        n_threads: C++ threads of the engine; 0 runs on the calling thread.
        randomization: domain randomisation, or None.
    """

    def __init__(
        self,
        task: Task,
        *,
        n_envs: int,
        seed: int,
        n_threads: int = 0,
        randomization: Randomization | None = None,
    ) -> None:
        if n_envs < 1:
            raise ConfigError(f"n_envs={n_envs} must be at least 1")
        self.task, self.n_envs = task, n_envs
        self.engine = BatchEngine(
            task.model,
            n_envs=n_envs,
            n_substeps=task.n_substeps,
            n_threads=n_threads,
            control_spec=task.control_spec,
        )
        self.rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
        self.randomization = randomization
        self._parameters: dict[str, np.ndarray] = {}
        self._edits: dict[str, tuple[str, Any, np.ndarray]] = {}
        self._control = np.zeros((n_envs, self.engine.n_control))
        self._t0 = np.zeros(n_envs)
        self._elapsed = np.zeros(n_envs, dtype=np.int64)
        self._world: World | None = None
        self._pending: list[np.ndarray] = []
        self._delay = np.zeros(n_envs, dtype=np.int64)

    @property
    def world(self) -> World:
        """The current world, batch shape `(N,)`."""
        if self._world is None:
            raise ConfigError("call reset() first")
        return self._world

    def reset(self) -> np.ndarray:
        """Starts N new episodes; returns observations `(N, D)`."""
        self._elapsed[:] = 0
        self._begin(np.arange(self.n_envs))
        self._world = World(self.task.schema, self._values())
        return self._observe(self._world)

    def step(self, action: np.ndarray) -> Step:
        """Applies one action to every environment.

        Args:
            action: `(N, A)` in [-1, 1]; clipped.

        Raises:
            ConfigError: wrong shape or a value that is not finite.
            DivergenceError: the simulation left the finite numbers.
        """
        task, before = self.task, self.world
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (self.n_envs, task.action_size) or not np.isfinite(action).all():
            raise ConfigError(
                f"action must be finite and of shape {(self.n_envs, task.action_size)}, got shape"
                f" {action.shape}{'' if np.isfinite(action).all() else ' with NaN or infinity'}"
            )
        action = np.clip(action, -1.0, 1.0)
        self._control = task.control(self._delayed(action), self.engine.states, self._control)
        self.engine.step(self._control)
        self._elapsed += 1
        world = World(task.schema, self._values(), before)
        success, terminated = task.success(world), task.terminated(world)
        truncated = (self._elapsed >= task.episode_steps) & ~terminated
        final = self._observe(world)
        ended = np.flatnonzero(terminated | truncated)
        self._world, observation = world, final
        if ended.size:
            self._restart(ended, world)
            observation = self._observe(self._world)
        return Step(world, action, observation, final, success, terminated, truncated)

    def _restart(self, ended: np.ndarray, world: World) -> None:
        """Starts new episodes in the rows `ended`; only these rows are read again."""
        self._elapsed[ended] = 0
        self._begin(ended)
        fresh = self._values(ended)
        current, previous = world.values(), world.previous.values()
        for path, value in fresh.items():
            for table in (current, previous):
                table[path] = table[path].copy()
                table[path][ended] = value
        self._world = World(self.task.schema, current, World(self.task.schema, previous))

    def _values(self, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
        if rows is None:
            return self.task.world_values(self.engine.states, self.engine.read(), self._parameters, self._t0)
        states = self.engine.states[rows]
        parameters = {name: value[rows] for name, value in self._parameters.items()}
        return self.task.world_values(states, self.engine.read(states, rows), parameters, self._t0[rows])

    def _observe(self, world: World) -> np.ndarray:
        observation = self.task.observe(world)
        if self.randomization is not None:
            observation = observation + self.randomization.observation_noise(self.rng, observation.shape)
        return observation

    def _delayed(self, action: np.ndarray) -> np.ndarray:
        """The action that reaches the motors now: some steps old under randomised delay."""
        if self.randomization is None or self.randomization.max_delay_steps == 0:
            return action
        self._pending = [action, *self._pending][: self.randomization.max_delay_steps + 1]
        newest = len(self._pending) - 1
        delay = np.minimum(self._delay, np.minimum(self._elapsed, newest))
        return np.stack(self._pending)[delay, np.arange(self.n_envs)]

    def _begin(self, rows: np.ndarray) -> None:
        """Draws and installs the starts of the environments `rows`."""
        start = self.task.start(self.rng, len(rows))
        edits = list(start.edits)
        if self.randomization is not None:
            edits += self.randomization.draw_edits(self.rng, self.task.model, len(rows))
            self._delay[rows] = self.randomization.draw_delay(self.rng, len(rows))
        self.engine.states[rows] = start.states
        self._t0[rows] = start.states[:, 0]
        self._control[rows] = 0.0
        for name, value in start.parameters.items():
            if name not in self._parameters:
                self._parameters[name] = np.zeros((self.n_envs, *value.shape[1:]))
            self._parameters[name] = self._parameters[name].copy()
            self._parameters[name][rows] = value
        for edit in edits:
            self._install(edit.field, edit.index, edit.values, rows)

    def _install(self, field: str, index: Any, values: np.ndarray, rows: np.ndarray) -> None:
        key = f"{field}/{index}"
        if key not in self._edits:
            default = np.array(getattr(self.task.model, field)[index], dtype=np.float64)
            self._edits[key] = (field, index, np.tile(default, (self.n_envs,) + (1,) * default.ndim))
        self._edits[key][2][rows] = values
        for row, value in zip(rows, values, strict=True):
            self.engine.edit(int(row), field, index, value)

    def get_state(self) -> dict[str, Any]:
        """Everything that the future depends on: arrays by name, and the generator's state under `rng`.

        `set_state` of the result on an environment built alike continues bit by bit.
        """
        arrays = {
            "states": self.engine.states.copy(),
            "control": self._control.copy(),
            "t0": self._t0.copy(),
            "elapsed": self._elapsed.copy(),
            "delay": self._delay.copy(),
            "pending": np.array(self._pending),
        }
        arrays |= {f"parameter/{k}": v.copy() for k, v in self._parameters.items()}
        arrays |= {f"edit/{k}": v[2].copy() for k, v in self._edits.items()}
        if self._world is not None:
            arrays |= {f"world/{k}": v for k, v in self._world.values().items()}
            arrays |= {f"previous/{k}": v for k, v in self._world.previous.values().items()}
        return {"arrays": arrays, "rng": self.rng.bit_generator.state, "step_count": self.engine.step_count}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `get_state`."""
        arrays = state["arrays"]
        if arrays["states"].shape != self.engine.states.shape:
            raise ConfigError(
                f"state of {arrays['states'].shape} does not fit {self.n_envs} environments of '{self.task.name}'"
                f" {self.engine.states.shape}"
            )
        if self._world is None:
            self.reset()  # makes the slots for parameters and edits
        self.engine.states = np.array(arrays["states"])
        self.engine.step_count = int(state["step_count"])
        self._control, self._t0 = np.array(arrays["control"]), np.array(arrays["t0"])
        self._elapsed, self._delay = np.array(arrays["elapsed"]), np.array(arrays["delay"])
        self._pending = [np.array(row) for row in arrays["pending"]]
        for name in self._parameters:
            self._parameters[name] = np.array(arrays[f"parameter/{name}"])
        everyone = np.arange(self.n_envs)
        for key, (field, index, _) in list(self._edits.items()):
            self._install(field, index, np.array(arrays[f"edit/{key}"]), everyone)
        schema = self.task.schema
        previous = World(schema, {p: arrays[f"previous/{p}"] for p in schema.quantities})
        self._world = World(schema, {p: arrays[f"world/{p}"] for p in schema.quantities}, previous)
        self.rng.bit_generator.state = state["rng"]

    def start_of(self, row: int) -> Start:
        """The present state of one environment as a start: to replay or render it elsewhere."""
        return Start(
            states=self.engine.states[row : row + 1].copy(),
            parameters={k: v[row : row + 1].copy() for k, v in self._parameters.items()},
        )

    def close(self) -> None:
        """Ends the engine's threads."""
        self.engine.close()
