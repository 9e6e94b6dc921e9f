"""N episodes of one task side by side: starts, steps, world reads, success, truncation, exact state.

There is no reward here; whoever needs one evaluates a `RewardProgram` on the returned world. An environment
that ended starts its next episode in the same `step` (same-step autoreset); what it ended with is in the
returned `Step`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied.core.errors import ConfigError, DivergenceError
from embodied.core.world import World
from embodied.sim.engine import BatchEngine
from embodied.sim.randomization import Randomization
from embodied.sim.task import ModelEdit, Start, Task


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


@dataclass(frozen=True)
class _Moment:
    """What the world of one moment is computed from. Its arrays are never written again."""

    states: np.ndarray
    sensors: np.ndarray
    parameters: Mapping[str, np.ndarray]
    t0: np.ndarray

    def replaced(self, rows: np.ndarray, other: _Moment) -> _Moment:
        """This moment with the environments `rows` taken from `other` (all N rows long)."""
        states, sensors = self.states.copy(), self.sensors.copy()
        states[rows], sensors[rows] = other.states[rows], other.sensors[rows]
        return _Moment(states, sensors, other.parameters, other.t0)


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
        self.seed(seed)
        self.randomization = randomization
        self._judge = task.judge(n_envs)
        self._parameters: dict[str, np.ndarray] = {}
        self._edits: dict[str, tuple[str, Any, np.ndarray]] = {}
        self._control = np.tile(self.engine.initial_control, (n_envs, 1))
        self._t0 = np.zeros(n_envs)
        self._elapsed = np.zeros(n_envs, dtype=np.int64)
        self._world: World | None = None
        self._moment: _Moment | None = None
        self._before: _Moment | None = None
        self._pending: list[np.ndarray] = []
        self._delay = np.zeros(n_envs, dtype=np.int64)

    def seed(self, seed: int) -> None:
        """Begins the stream of random numbers anew; the present episodes go on."""
        self.rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))

    @property
    def world(self) -> World:
        """The current world, batch shape `(N,)`."""
        if self._world is None:
            raise ConfigError("call reset() first")
        return self._world

    @property
    def t0(self) -> np.ndarray:
        """Simulation time at which each episode began `(N,)` [s] (a copy)."""
        return self._t0.copy()

    def reset(self, *, stagger: bool = False) -> np.ndarray:
        """Starts N new episodes; returns observations `(N, D)`.

        Args:
            stagger: end these first episodes at random times, so that later ones do not all start together:
                a learner's batches then hold all phases of an episode.
        """
        everyone = np.arange(self.n_envs)
        self._elapsed[:] = 0
        self._begin(everyone)
        if stagger:
            self._elapsed[:] = self.rng.integers(0, self.task.episode_steps, self.n_envs)
        self._moment, self._before = self._read(), None
        self._world = self._world_of(self._moment)
        return self._observe(self._world)

    def step(self, action: np.ndarray, *, autoreset: bool = True) -> Step:
        """Applies one action to every environment.

        Args:
            action: `(N, A)` in [-1, 1]; clipped.
            autoreset: start the next episode where one ended. Without it the ended episode simply goes on;
                whoever asks for that calls `reset`.

        Raises:
            ConfigError: wrong shape or a value that is not finite.
            DivergenceError: the simulation left the finite numbers. No environment has moved; the error names
                the first that diverged in `env`, the control step in `step`, the state before it in `state`.
        """
        task, before = self.task, self.world
        action = self._checked(action)
        pending = self._pending
        control = task.control(self._delayed(action), self.engine.states, self._control)
        try:
            self.engine.step(control)
        except DivergenceError:
            self._pending = pending
            raise
        self._control = control
        self._elapsed += 1
        self._before, self._moment = self._moment, self._read()
        world = self._world_of(self._moment, before)
        success = task.success(world) if self._judge is None else self._judge.update(world)
        terminated = task.terminated(world)
        truncated = (self._elapsed >= task.episode_steps) & ~terminated
        final = self._observe(world)
        self._world, observation = world, final
        ended = terminated | truncated
        if autoreset and ended.any():
            rows = np.flatnonzero(ended)
            self._restart(rows)
            observation = final.copy()
            observation[rows] = self._observe(self._world)[rows]
        return Step(world, action, observation, final, success, terminated, truncated)

    def _checked(self, action: np.ndarray) -> np.ndarray:
        """The action as float64, clipped to [-1, 1]."""
        action = np.asarray(action, dtype=np.float64)
        finite = math.isfinite(np.vdot(action, action)) or bool(np.isfinite(action).all())
        if action.shape != (self.n_envs, self.task.action_size) or not finite:
            raise ConfigError(
                f"action must be finite and of shape {(self.n_envs, self.task.action_size)}, got shape"
                f" {action.shape}{'' if finite else ' with NaN or infinity'}"
            )
        return np.minimum(np.maximum(action, -1.0), 1.0)  # np.clip takes three times as long

    def _restart(self, ended: np.ndarray) -> None:
        """Starts new episodes in the rows `ended`; only these rows are read again."""
        assert self._moment is not None
        assert self._before is not None
        self._elapsed[ended] = 0
        self._begin(ended)
        self._moment = self._read(ended, self._moment)
        # A new episode's first world is its own previous one.
        self._before = self._before.replaced(ended, self._moment)
        self._world = self._world_of(self._moment, self._world_of(self._before))

    def _read(self, rows: np.ndarray | None = None, moment: _Moment | None = None) -> _Moment:
        """The present moment; with `rows` only these are read and the others taken from `moment`."""
        states = self.engine.states  # a new array after each step and each start
        if rows is None or moment is None:
            sensors = self.engine.read(states)
        elif moment.sensors.size == 0:
            sensors = moment.sensors
        else:
            sensors = moment.sensors.copy()
            sensors[rows] = self.engine.read(states[rows], rows)
        return _Moment(states, sensors, self._parameters, self._t0)

    def _world_of(self, moment: _Moment, previous: World | None = None) -> World:
        return self.task.world(moment.states, moment.sensors, moment.parameters, moment.t0, previous)

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
        control = self.engine.initial_control if start.control is None else start.control
        if self._judge is not None:
            self._judge.reset(rows)
        # Copies: the worlds of old moments keep the old arrays.
        self.engine.states, self.engine.control = self.engine.states.copy(), self.engine.control.copy()
        self._control, self._t0 = self._control.copy(), self._t0.copy()
        self._control[rows], self._t0[rows] = control, start.states[:, 0]
        self.engine.states[rows], self.engine.control[rows] = start.states, control
        parameters = {
            name: self._parameters[name].copy()
            if name in self._parameters
            else np.zeros((self.n_envs, *np.shape(value)[1:]))
            for name, value in start.parameters.items()
        }
        for name, value in start.parameters.items():
            parameters[name][rows] = value
        self._parameters = {**self._parameters, **parameters}
        for edit in edits:
            self._install(edit.field, edit.index, edit.values, rows)
        self.engine.settle()

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
            "engine_control": self.engine.control.copy(),
            "t0": self._t0.copy(),
            "elapsed": self._elapsed.copy(),
            "delay": self._delay.copy(),
            "pending": np.array(self._pending),
        }
        if self._judge is not None:
            arrays["judge"] = self._judge.state.copy()
        arrays |= {f"parameter/{k}": v.copy() for k, v in self._parameters.items()}
        arrays |= {f"edit/{k}": v[2].copy() for k, v in self._edits.items()}
        for prefix, moment in (("now", self._moment), ("before", self._before)):
            if moment is not None:
                arrays[f"{prefix}/states"] = moment.states.copy()
                arrays[f"{prefix}/sensors"] = moment.sensors.copy()
        return {"arrays": arrays, "rng": self.rng.bit_generator.state, "step_count": self.engine.step_count}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `get_state`.

        Raises:
            ConfigError: the state is of another task, number of environments or randomisation.
        """
        arrays = state["arrays"]
        if arrays["states"].shape != self.engine.states.shape:
            raise ConfigError(
                f"state of {arrays['states'].shape} does not fit {self.n_envs} environments of"
                f" '{self.task.name}' {self.engine.states.shape}"
            )
        if "now/states" not in arrays:
            raise ConfigError("this state was taken before the first reset(); there is nothing to go on with")
        if self._world is None:
            self.reset()  # makes the slots for parameters and edits
        wanted = {f"edit/{k}" for k in self._edits} | {f"parameter/{k}" for k in self._parameters}
        given = {k for k in arrays if k.startswith(("edit/", "parameter/"))}
        if wanted != given:
            raise ConfigError(
                f"the state is of an environment built otherwise (task or randomisation): it has"
                f" {sorted(given)}, this one {sorted(wanted)}"
            )
        self._set_arrays(arrays)
        self.engine.step_count = int(state["step_count"])
        self.rng.bit_generator.state = state["rng"]

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.engine.states = np.array(arrays["states"])
        self.engine.control = np.array(arrays["engine_control"])
        self._control, self._t0 = np.array(arrays["control"]), np.array(arrays["t0"])
        self._elapsed, self._delay = np.array(arrays["elapsed"]), np.array(arrays["delay"])
        self._pending = [np.array(row) for row in arrays["pending"]]
        if self._judge is not None:
            self._judge.state = np.array(arrays["judge"])
        self._parameters = {name: np.array(arrays[f"parameter/{name}"]) for name in self._parameters}
        everyone = np.arange(self.n_envs)
        for key, (field, index, _) in list(self._edits.items()):
            self._install(field, index, np.array(arrays[f"edit/{key}"]), everyone)
        self.engine.settle()
        moments = [
            _Moment(
                np.array(arrays[f"{prefix}/states"]),
                np.array(arrays[f"{prefix}/sensors"]),
                self._parameters,
                self._t0,
            )
            if f"{prefix}/states" in arrays
            else None
            for prefix in ("now", "before")
        ]
        self._moment, self._before = moments
        previous = None if self._before is None else self._world_of(self._before)
        assert self._moment is not None
        self._world = self._world_of(self._moment, previous)

    def start_of(self, row: int) -> Start:
        """The present state of one environment as a start: to replay or render it elsewhere."""
        one = slice(row, row + 1)
        return Start(
            states=self.engine.states[one].copy(),
            parameters={k: v[one].copy() for k, v in self._parameters.items()},
            edits=[ModelEdit(field, index, v[one].copy()) for field, index, v in self._edits.values()],
            control=self._control[one].copy(),
        )

    def close(self) -> None:
        """Ends the engine's threads."""
        self.engine.close()
