"""The batch engine: N MuJoCo environments stepped in C++ threads by `mujoco.rollout`.

State is MuJoCo's full physics state, `[time, qpos, qvel, act]`, one row per environment; nothing else carries
over from one control step to the next (warm starts are zeroed at each step's first substep), so getting and
setting it is exact.

A rollout's own sensor data is one substep old. `read` therefore evaluates sensors at a given state by one
more `rollout(nstep=1)` on a model with Euler integration and with contacts, constraints, actuation and passive
forces switched off, unless a sensor of the model needs them.

A model that all environments share stays in the caches; 64 copies do not (measured on open_drawer: physics 10%
slower, reads twice as slow). What differs between episodes is therefore best an episode parameter, or the pose of
a mocap body, which is a control. `edit` gives an environment a model of its own where it must have one.

Divergence does not show as NaN: MuJoCo resets by itself and rollout pads. It is detected by a returned time
that is not `t0 + k dt`, and by states or controls beyond 1e8.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import mujoco
import numpy as np
from mujoco import rollout

from embodied.core.errors import ConfigError, DivergenceError

_S = mujoco.mjtSensor
_FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS
# No robot is 1e8 m away. MuJoCo itself resets beyond 1e10; below that it would carry a blown-up state on.
_STATE_LIMIT = 1e8
# Sensors that positions and velocities determine. Any other kind (force, touch, acceleration, limit, plugin,
# and kinds of a later MuJoCo) makes the reading step a full one.
_KINEMATIC_SENSORS = {
    _S.mjSENS_VELOCIMETER,
    _S.mjSENS_GYRO,
    _S.mjSENS_MAGNETOMETER,
    _S.mjSENS_RANGEFINDER,
    _S.mjSENS_CAMPROJECTION,
    _S.mjSENS_JOINTPOS,
    _S.mjSENS_JOINTVEL,
    _S.mjSENS_TENDONPOS,
    _S.mjSENS_TENDONVEL,
    _S.mjSENS_ACTUATORPOS,
    _S.mjSENS_ACTUATORVEL,
    _S.mjSENS_BALLQUAT,
    _S.mjSENS_BALLANGVEL,
    _S.mjSENS_FRAMEPOS,
    _S.mjSENS_FRAMEQUAT,
    _S.mjSENS_FRAMEXAXIS,
    _S.mjSENS_FRAMEYAXIS,
    _S.mjSENS_FRAMEZAXIS,
    _S.mjSENS_FRAMELINVEL,
    _S.mjSENS_FRAMEANGVEL,
    _S.mjSENS_SUBTREECOM,
    _S.mjSENS_SUBTREELINVEL,
    _S.mjSENS_SUBTREEANGMOM,
    _S.mjSENS_GEOMDIST,
    _S.mjSENS_GEOMNORMAL,
    _S.mjSENS_GEOMFROMTO,
    _S.mjSENS_CLOCK,
}
# Fields from which MuJoCo derives others when it compiles (subtree masses, inverse inertias of constraints).
_FIELDS_WITH_DERIVED = frozenset({"body_mass", "body_inertia", "dof_armature"})


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
        self.initial_control = initial_state(model, control_spec)
        self._models = [model] * n_envs
        self._read_model = reading_copy(model)
        self._read_models = [self._read_model] * n_envs
        self._options: dict[int, Any] = {}  # of the environments that have a model of their own
        self._data = [mujoco.MjData(model) for _ in range(max(1, n_threads))]
        self._scratch = mujoco.MjData(model)
        self._dt = float(model.opt.timestep)
        self._stale: set[int] = set()
        # Large portions: rollout's own choice of ten a thread costs 8% more in hand-overs (measured on open_drawer).
        # Two a thread level out unequal physics; a read is too short for that.
        threads = max(1, n_threads)
        self._step_portion, self._read_portion = -(-n_envs // (2 * threads)), -(-n_envs // threads)
        self._pool: rollout.Rollout | None = None
        self._trajectory = np.empty((n_envs, n_substeps, self.n_state))
        self._lagged = np.empty((n_envs, n_substeps, model.nsensordata))
        self._read_state = np.empty((n_envs, 1, self.n_state))
        self._control = np.empty((n_envs, n_substeps, self.n_control))
        self._horizon = (np.empty((0, 0, 0)),) * 3
        self.control = np.tile(self.initial_control, (n_envs, 1))
        self.states = np.tile(initial_state(model), (n_envs, 1))
        self.step_count = 0

    def warm_up(self) -> None:
        """Touches every lazily loaded part on the calling thread, without making threads (before a lock)."""
        with rollout.Rollout(nthread=0) as pool:
            state, sensors = self._trajectory.copy(), self._lagged.copy()
            pool.rollout(
                self._models,
                self._data[:1],
                self.states,
                np.zeros_like(self._control),
                control_spec=self.control_spec,
                nstep=state.shape[1],
                state=state,
                sensordata=sensors,
            )

    def step(self, control: np.ndarray) -> np.ndarray:
        """Advances every environment by one control step.

        Args:
            control: `(N, n_control)`, held for all substeps; kept, so never write into it afterwards.

        Returns:
            The new states `(N, n_state)`, also in `self.states`.

        Raises:
            DivergenceError: an environment left the finite numbers; names it, the step and the state before.
        """
        before = given = self.states
        self._check_given(before, control)
        self._control[:] = control[:, None, :]
        if self.n_substeps == 1:
            # A self-reset in the first step from time 0 would end at the expected time: start at another one.
            given = before.copy()
            given[:, 0] += 1.0
        self._rollout(
            self._models, self._data, given, self._control, self._trajectory, self._lagged, self._step_portion
        )
        after = self._trajectory[:, -1, :].copy()
        self._check(before, given, after, control)
        if self.n_substeps == 1:
            after[:, 0] = before[:, 0] + self._dt
        self.step_count += 1
        self.states, self.control = after, control
        return after

    def read(
        self,
        states: np.ndarray | None = None,
        rows: Sequence[int] | np.ndarray | None = None,
        control: np.ndarray | None = None,
    ) -> np.ndarray:
        """Sensor data exactly at the given states.

        Args:
            states: `(k, n_state)`; the current states by default.
            rows: the environments whose models are meant, length k; all by default.
            control: `(k, n_control)`, the controls that act at these states; by default those that last acted
                in `rows`. Sensors of forces and of mocap bodies depend on them.

        Returns:
            `(k, nsensordata)`, a new array.
        """
        states = self.states if states is None else states
        k = len(states)
        sensors = np.empty((k, 1, self.model.nsensordata))
        if self.model.nsensordata and k:
            if control is None:
                control = self.control if rows is None else self.control[np.asarray(rows)]
            n_models = self.n_envs if rows is None else len(rows)
            if not n_models == len(control) == k:
                raise ConfigError(f"read of {k} states with {n_models} models and {len(control)} controls")
            held = np.ascontiguousarray(control, dtype=np.float64)[:, None, :]
            scratch = self._read_state[:k] if k <= self.n_envs else np.empty((k, 1, self.n_state))
            self._rollout_reading(rows, states, held, scratch, sensors)
        return sensors[:, 0, :]

    def _rollout_reading(self, rows: Iterable[int] | None, states, control, out_states, out_sensors) -> None:
        """One reading step. An environment's own model is switched to reading and back.

        A second, reading copy of each model would double the memory that the caches have to hold: measured 2x
        slower reads with 64 edited models.
        """
        if rows is None:
            models, options = self._read_models, list(self._options.values())
        else:
            models = [self._read_models[row] for row in rows]
            options = [self._options[row] for row in rows if row in self._options]
        if not options:
            self._rollout(models, self._data, states, control, out_states, out_sensors, self._read_portion)
            return
        flags, integrator = self._read_model.opt.disableflags, self._read_model.opt.integrator
        try:
            for option in options:
                option.disableflags, option.integrator = flags, integrator
            self._rollout(models, self._data, states, control, out_states, out_sensors, self._read_portion)
        finally:
            flags, integrator = self.model.opt.disableflags, self.model.opt.integrator
            for option in options:
                option.disableflags, option.integrator = flags, integrator

    def rollout(self, states: np.ndarray, controls: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Plays n sequences of H controls from given states; `self.states` stays as it is (for planners).

        One more substep at the end makes the sensors of every control step exact: a step's sensors are those that
        the next one begins with. Sensors of forces see the control that comes next.

        Args:
            states: `(n, n_state)`, n at most `n_envs`.
            controls: `(n, H, n_control)`.

        Returns:
            `(states, sensors, good)`: `(n, H + 1, n_state)` and `(n, H + 1, nsensordata)` before the first and after
            each control; `good` bool `(n,)` is false where the simulation left the finite numbers.
        """
        n, horizon = controls.shape[:2]
        inner = horizon * self.n_substeps + 1
        if self._horizon[0].shape[:2] != (self.n_envs, inner):
            self._horizon = (
                np.empty((self.n_envs, inner, self.n_state)),
                np.empty((self.n_envs, inner, self.model.nsensordata)),
                np.empty((self.n_envs, inner, self.n_control)),
            )
        path, sensors, held = (array[:n] for array in self._horizon)
        held[:, :-1] = np.repeat(controls, self.n_substeps, axis=1)
        held[:, -1] = controls[:, -1]
        begin = states.copy()
        begin[:, 0] = 1.0  # a self-reset sets the time to 0: it must show
        self._rollout(self._models[:n], self._data, begin, held, path, sensors, 1)
        late = path[:, -1, 0] - 1.0 - inner * self._dt
        after = np.concatenate([begin[:, None], path[:, self.n_substeps - 1 : -1 : self.n_substeps]], axis=1)
        good = (np.abs(late) < 0.5 * self._dt) & (np.abs(after) < _STATE_LIMIT).all(axis=(1, 2))
        after[..., 0] += states[:, None, 0] - 1.0
        return after, sensors[:, :: self.n_substeps].copy(), good

    def lagged_sensors(self) -> np.ndarray:
        """The last step's own sensor data `(N, nsensordata)`: one substep old, free (for planners)."""
        return self._lagged[:, -1, :]

    def edit(self, row: int, field: str, index: Any, value: Any) -> None:
        """Sets `model.<field>[index] = value` for one environment (the first edit copies its model)."""
        if self._models[row] is self.model:
            self._models[row] = copy.copy(self.model)
            self._read_models[row], self._options[row] = self._models[row], self._models[row].opt
        getattr(self._models[row], field)[index] = value
        if field in _FIELDS_WITH_DERIVED:
            self._stale.add(row)

    def settle(self) -> None:
        """Recomputes what MuJoCo derives from edited masses and inertias; call it after edits."""
        for row in sorted(self._stale):
            mujoco.mj_setConst(self._models[row], self._scratch)
        self._stale.clear()

    def model_of(self, row: int) -> mujoco.MjModel:
        """The model that environment `row` steps with."""
        return self._models[row]

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _rollout(self, models, data, states, control, out_states, out_sensors, portion: int) -> None:
        if self._pool is None:
            self._pool = rollout.Rollout(nthread=self.n_threads)
        nstep = out_states.shape[1]
        self._pool.rollout(
            models,
            data,
            np.ascontiguousarray(states, dtype=np.float64),
            control,
            control_spec=self.control_spec,
            skip_checks=True,
            nstep=nstep,
            state=out_states,
            sensordata=out_sensors,
            chunk_size=portion,
        )

    def _check(self, before: np.ndarray, given: np.ndarray, after: np.ndarray, control: np.ndarray) -> None:
        # Negated comparisons, here and below, so that NaN counts as divergence.
        late, most = after[:, 0] - given[:, 0] - self.n_substeps * self._dt, 0.5 * self._dt
        if _tame(after) and np.vdot(late, late) < most * most:
            return
        on_time = np.abs(late) < most
        bad = np.flatnonzero(~on_time | _wild_rows(after))
        if bad.size:
            raise self._divergence(bad, before, control)

    def _check_given(self, before: np.ndarray, control: np.ndarray) -> None:
        """Refuses what MuJoCo would clamp, normalise or zero without a word, such as an activation of 1e9."""
        if _tame(before) and _tame(control):
            return
        bad = np.flatnonzero(_wild_rows(before) | _wild_rows(control))
        if bad.size:
            raise self._divergence(bad, before, control)

    def _divergence(self, bad: np.ndarray, before: np.ndarray, control: np.ndarray) -> DivergenceError:
        row = int(bad[0])
        error = DivergenceError(
            f"simulation diverged in environment {row} (of {bad.size} that did: {_some(bad)}) at control step"
            f" {self.step_count + 1}, t = {before[row, 0]:.4g} s. Reduce the timestep or the control range;"
            f" state [time, qpos, qvel, act] before the step: {_short(before[row])};"
            f" control: {_short(control[row])}"
        )
        error.env, error.step, error.state = row, self.step_count + 1, before[row].copy()  # type: ignore[attr-defined]
        return error


def _tame(array: np.ndarray) -> bool:
    """Whether all values are below the limit; NaN is not, as no comparison with it holds."""
    if np.vdot(array, array) < _STATE_LIMIT:  # one pass decides the usual case: no value beyond 1e4
        return True
    return bool(np.abs(array).max() < _STATE_LIMIT)


def _wild_rows(array: np.ndarray) -> np.ndarray:
    """Which rows of `(n, ...)` hold a value beyond the limit or NaN, bool `(n,)`."""
    return ~(np.abs(array) < _STATE_LIMIT).all(axis=1)


def _short(vector: np.ndarray) -> str:
    return np.array2string(vector, precision=4, threshold=40, max_line_width=10**6)


def _some(rows: Iterable[Any]) -> str:
    names = [str(row) for row in rows]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def initial_state(model: mujoco.MjModel, part: int = int(_FULL)) -> np.ndarray:
    """State of the `home` keyframe, else of the first one, else of `qpos0`; `part` is a sum of `mjtState`."""
    data = mujoco.MjData(model)
    if model.nkey:
        home = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_KEY, "home")
        mujoco.mj_resetDataKeyframe(model, data, max(home, 0))
    state = np.empty(mujoco.mj_stateSize(model, part))
    mujoco.mj_getState(model, data, state, part)
    return state


def reading_copy(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy on which one Euler step evaluates the sensors at the given state as cheaply as is exact."""
    copied = copy.copy(model)
    copied.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER
    if all(mujoco.mjtSensor(kind) in _KINEMATIC_SENSORS for kind in model.sensor_type):
        flags = mujoco.mjtDisableBit
        unneeded = (
            flags.mjDSBL_CONTACT,
            flags.mjDSBL_CONSTRAINT,
            flags.mjDSBL_ACTUATION,
            flags.mjDSBL_PASSIVE,
            flags.mjDSBL_GRAVITY,
            flags.mjDSBL_EULERDAMP,
        )
        copied.opt.disableflags |= sum(int(flag) for flag in unneeded)
    return copied
