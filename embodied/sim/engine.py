"""The batch engine: N MuJoCo environments stepped in C++ threads by `mujoco.rollout`.

State is MuJoCo's full physics state, `[time, qpos, qvel, act]`, one row per environment; nothing else carries
over from one control step to the next (warm starts are zeroed at each step's first substep), so getting and
setting it is exact.

A rollout's own sensor data is one substep old. `read` therefore evaluates sensors at a given state by one more
`rollout(nstep=1)` on a copy of the model with Euler integration and with contacts, constraints and actuation
switched off, unless a declared sensor needs them.

Divergence does not show as NaN: MuJoCo resets by itself and rollout pads. It is detected by a returned time that
is not `t0 + k dt`, and by values beyond MuJoCo's own limit of 1e10.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from mujoco import rollout

from embodied.core.errors import DivergenceError

_FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS
_STATE_LIMIT = 1e10
_DYNAMIC_SENSORS = {
    mujoco.mjtSensor.mjSENS_TOUCH,
    mujoco.mjtSensor.mjSENS_ACCELEROMETER,
    mujoco.mjtSensor.mjSENS_FORCE,
    mujoco.mjtSensor.mjSENS_TORQUE,
    mujoco.mjtSensor.mjSENS_ACTUATORFRC,
    mujoco.mjtSensor.mjSENS_JOINTACTFRC,
    mujoco.mjtSensor.mjSENS_FRAMELINACC,
    mujoco.mjtSensor.mjSENS_FRAMEANGACC,
}


class BatchEngine:
    """Steps `n_envs` copies of a model.

    Args:
        model: the compiled model, shared by all environments, until `edit` gives one its own copy.
        n_envs: number of environments N.
        n_substeps: physics steps per control step.
        n_threads: C++ threads; 0 runs on the calling thread. The pool is made at the first step, so that an
            engine may be built before a process is locked.
        control_spec: which parts of the control vector are given each step (`mjSTATE_CTRL`, or with mocap).
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        *,
        n_envs: int,
        n_substeps: int,
        n_threads: int = 0,
        control_spec: int = int(mujoco.mjtState.mjSTATE_CTRL),
    ) -> None:
        self.model, self.n_envs, self.n_substeps, self.n_threads = model, n_envs, n_substeps, n_threads
        self.control_spec = control_spec
        self.n_state = mujoco.mj_stateSize(model, _FULL)
        self.n_control = mujoco.mj_stateSize(model, control_spec)
        self._models = [model] * n_envs
        self._read_model = reading_copy(model)
        self._read_models = [self._read_model] * n_envs
        self._data = [mujoco.MjData(model) for _ in range(max(1, n_threads))]
        self._read_data = [mujoco.MjData(self._read_model) for _ in range(max(1, n_threads))]
        self._pool: rollout.Rollout | None = None
        self._trajectory = np.empty((n_envs, n_substeps, self.n_state))
        self._lagged = np.empty((n_envs, n_substeps, model.nsensordata))
        self._read_state = np.empty((n_envs, 1, self.n_state))
        self._control = np.empty((n_envs, n_substeps, self.n_control))
        self._read_control = np.zeros((n_envs, 1, self.n_control))
        self.states = np.tile(initial_state(model), (n_envs, 1))
        self.step_count = 0

    def warm_up(self) -> None:
        """Touches every lazily loaded part on the calling thread, without making threads (for use before a lock)."""
        with rollout.Rollout(nthread=0) as pool:
            state, sensors = self._trajectory.copy(), self._lagged.copy()
            pool.rollout(
                self._models,
                self._data[:1],
                self.states,
                np.zeros_like(self._control),
                control_spec=self.control_spec,
                nstep=self.n_substeps,
                state=state,
                sensordata=sensors,
            )

    def step(self, control: np.ndarray) -> np.ndarray:
        """Advances every environment by one control step.

        Args:
            control: `(N, n_control)`, held for all substeps.

        Returns:
            The new states `(N, n_state)`, also in `self.states`.

        Raises:
            DivergenceError: an environment left the finite numbers; names it, the step and the state before.
        """
        self._control[:] = control[:, None, :]
        before = self.states
        self._rollout(self._models, self._data, before, self._control, self._trajectory, self._lagged)
        after = self._trajectory[:, -1, :].copy()
        self.step_count += 1
        self._check(before, after)
        self.states = after
        return after

    def read(self, states: np.ndarray | None = None, rows: Sequence[int] | None = None) -> np.ndarray:
        """Sensor data exactly at the given states.

        Args:
            states: `(k, n_state)`; the current states by default.
            rows: the environments whose models are meant, length k; all by default.

        Returns:
            `(k, nsensordata)`.
        """
        states = self.states if states is None else states
        models = self._read_models if rows is None else [self._read_models[i] for i in rows]
        k = len(states)
        sensors = np.empty((k, 1, self.model.nsensordata))
        if self.model.nsensordata:
            scratch, control = self._read_state[:k], self._read_control[:k]
            self._rollout(models, self._read_data, states, control, scratch, sensors)
        return sensors[:, 0, :]

    def lagged_sensors(self) -> np.ndarray:
        """The last step's own sensor data `(N, nsensordata)`: one substep old, free of charge (for planners)."""
        return self._lagged[:, -1, :]

    def edit(self, row: int, field: str, index: Any, value: Any) -> None:
        """Sets `model.<field>[index] = value` for one environment (its models are copied at the first edit)."""
        if self._models[row] is self.model:
            self._models[row] = copy.copy(self.model)
            self._read_models[row] = copy.copy(self._read_model)
        for model in (self._models[row], self._read_models[row]):
            getattr(model, field)[index] = value

    def model_of(self, row: int) -> mujoco.MjModel:
        """The model that environment `row` steps with."""
        return self._models[row]

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _rollout(self, models, data, states, control, out_states, out_sensors) -> None:
        if self._pool is None:
            self._pool = rollout.Rollout(nthread=self.n_threads)
        nstep = out_states.shape[1]
        self._pool.rollout(
            models,
            data,
            np.ascontiguousarray(states),
            control,
            control_spec=self.control_spec,
            skip_checks=True,
            nstep=nstep,
            state=out_states,
            sensordata=out_sensors,
        )

    def _check(self, before: np.ndarray, after: np.ndarray) -> None:
        dt = self.model.opt.timestep
        late = ~(np.abs(after[:, 0] - before[:, 0] - self.n_substeps * dt) < 0.5 * dt)
        wild = ~(np.abs(after).max(axis=1) < _STATE_LIMIT)
        bad = np.flatnonzero(late | wild)
        if bad.size:
            row = int(bad[0])
            error = DivergenceError(
                f"simulation diverged in environment {row} (of {bad.size} that did) at control step"
                f" {self.step_count}, t = {before[row, 0]:.4g} s. Reduce the timestep or the control range;"
                f" state before the step: {np.array2string(before[row], precision=4, threshold=40)}"
            )
            error.env, error.step, error.state = row, self.step_count, before[row].copy()  # type: ignore[attr-defined]
            raise error


def initial_state(model: mujoco.MjModel) -> np.ndarray:
    """Full physics state `(n_state,)` of the `home` keyframe, else of the first one, else of `qpos0`."""
    data = mujoco.MjData(model)
    if model.nkey:
        home = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_KEY, "home")
        mujoco.mj_resetDataKeyframe(model, data, max(home, 0))
    state = np.empty(mujoco.mj_stateSize(model, _FULL))
    mujoco.mj_getState(model, data, state, _FULL)
    return state


def reading_copy(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy on which one Euler step evaluates the sensors at the given state as cheaply as is exact."""
    copied = copy.copy(model)
    copied.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER
    if not any(kind in _DYNAMIC_SENSORS for kind in model.sensor_type):
        flags = mujoco.mjtDisableBit
        copied.opt.disableflags |= int(flags.mjDSBL_CONTACT | flags.mjDSBL_CONSTRAINT | flags.mjDSBL_ACTUATION)
    return copied
