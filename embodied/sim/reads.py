"""Where a world quantity comes from: a slice of the physics state, a MuJoCo sensor, an episode parameter, or
a formula over other quantities.

Slices and parameters cost nothing. A frame of a body, site or geom is a sensor that is added to the model's
`MjSpec`; the engine evaluates sensors exactly at the state after the step (see `engine.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mujoco
import numpy as np

from embodied.core.errors import ConfigError, UnknownNameError

_S = mujoco.mjtSensor
FRAME_SENSORS = {
    "position": (_S.mjSENS_FRAMEPOS, 3),
    "quaternion": (_S.mjSENS_FRAMEQUAT, 4),
    "x_axis": (_S.mjSENS_FRAMEXAXIS, 3),
    "y_axis": (_S.mjSENS_FRAMEYAXIS, 3),
    "z_axis": (_S.mjSENS_FRAMEZAXIS, 3),
    "linear_velocity": (_S.mjSENS_FRAMELINVEL, 3),
    "angular_velocity": (_S.mjSENS_FRAMEANGVEL, 3),
}
_OBJECTS = {
    "body": mujoco.mjtObj.mjOBJ_XBODY,
    "site": mujoco.mjtObj.mjOBJ_SITE,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
}


@dataclass(frozen=True)
class Frames:
    """What a source may read from: `states (n, nstate)`, `sensors (n, nsensordata)`, `parameters` by name."""

    states: np.ndarray
    sensors: np.ndarray
    parameters: Mapping[str, np.ndarray]


Reader = Callable[[Frames, Mapping[str, np.ndarray]], np.ndarray]


class Readings(Mapping[str, np.ndarray]):
    """The quantities of n states, each evaluated when it is first asked for, then kept.

    The frames must never be written again: readings are views of them.

    Args:
        readers: path -> (shape of one environment's value, reader), as a task binds them.
        frames: what the readers read from.
        t0: time at which each episode began `(n,)` [s].
        owner: named in errors.
    """

    __slots__ = ("_frames", "_kept", "_owner", "_readers")

    def __init__(
        self,
        readers: Mapping[str, tuple[tuple[int, ...], Reader]],
        frames: Frames,
        t0: np.ndarray,
        owner: str,
    ) -> None:
        self._readers, self._frames, self._owner = readers, frames, owner
        self._kept: dict[str, np.ndarray] = {"time": frames.states[:, 0] - t0}

    def __getitem__(self, path: str) -> np.ndarray:
        found = self._kept.get(path)
        if found is None:
            shape, reader = self._readers[path]
            found = reader(self._frames, self)
            if found.shape[1:] != shape or len(found) != len(self._frames.states):
                raise ConfigError(
                    f"{self._owner}: quantity '{path}' is declared {shape} but its source gives {found.shape[1:]}"
                )
            self._kept[path] = found
        return found

    def __iter__(self) -> Iterator[str]:
        yield "time"
        yield from self._readers

    def __len__(self) -> int:
        return 1 + len(self._readers)


class Source(Protocol):
    """Origin of a quantity. `install` may add a sensor; `bind` finds addresses and gives a reader."""

    def install(self, spec: mujoco.MjSpec, name: str) -> None:
        """Adds to the model's spec what the quantity `name` needs."""
        ...

    def bind(self, model: mujoco.MjModel, name: str) -> Reader:
        """Finds addresses in the compiled model and gives the reader of the quantity `name`."""
        ...


class _NoSensor:
    def install(self, spec: mujoco.MjSpec, name: str) -> None:
        """Nothing to add to the model."""


@dataclass(frozen=True)
class JointPosition(_NoSensor):
    """Positions of hinge or slide joints: a scalar for one name as `str`, else `(len(joints),)`."""

    joints: str | Sequence[str]

    def bind(self, model: mujoco.MjModel, name: str) -> Reader:
        """Finds the columns of the state."""
        columns = [1 + model.jnt_qposadr[joint_id(model, j)] for j in _names(self.joints)]
        return _columns(columns, scalar=isinstance(self.joints, str))


@dataclass(frozen=True)
class JointVelocity(_NoSensor):
    """Velocities of hinge or slide joints: a scalar for one name as `str`, else `(len(joints),)`."""

    joints: str | Sequence[str]

    def bind(self, model: mujoco.MjModel, name: str) -> Reader:
        """Finds the columns of the state."""
        columns = [1 + model.nq + model.jnt_dofadr[joint_id(model, j)] for j in _names(self.joints)]
        return _columns(columns, scalar=isinstance(self.joints, str))


@dataclass(frozen=True)
class StateSlice(_NoSensor):
    """`qpos[start:stop]`, `qvel[start:stop]` or `act[start:stop]`; `stop=None` means to the end.

    `index` picks one scalar instead.
    """

    part: str
    start: int = 0
    stop: int | None = None
    index: int | None = None

    def bind(self, model: mujoco.MjModel, name: str) -> Reader:
        """Finds the columns of the state."""
        offset = {"qpos": 1, "qvel": 1 + model.nq, "act": 1 + model.nq + model.nv}[self.part]
        length = {"qpos": model.nq, "qvel": model.nv, "act": model.na}[self.part]
        if self.index is not None:
            return _columns([offset + self.index % length], scalar=True)
        return _columns(list(range(offset, offset + length))[self.start : self.stop], scalar=False)


@dataclass(frozen=True)
class FreeBody(_NoSensor):
    """Pose or velocity of a free joint, straight from the state.

    `what`: `position (3,)` and `quaternion (4,)` wxyz in the world frame, `linear_velocity (3,)` in the world
    frame, `angular_velocity (3,)` in the body frame (MuJoCo's convention for free joints).
    """

    joint: str
    what: str

    def bind(self, model: mujoco.MjModel, name: str) -> Reader:
        """Finds the columns of the state."""
        joint = joint_id(model, self.joint)
        qpos, qvel = 1 + model.jnt_qposadr[joint], 1 + model.nq + model.jnt_dofadr[joint]
        spans = {
            "position": (qpos, 3),
            "quaternion": (qpos + 3, 4),
            "linear_velocity": (qvel, 3),
            "angular_velocity": (qvel + 3, 3),
        }
        if self.what not in spans:
            raise UnknownNameError("reading of a free body", self.what, spans, f"quantity {name}")
        start, length = spans[self.what]
        return _columns(list(range(start, start + length)), scalar=False)


@dataclass(frozen=True)
class Frame:
    """A sensor on a body, site or geom frame, in the world frame; `what` is a key of `FRAME_SENSORS`."""

    kind: str
    object: str
    what: str = "position"

    def install(self, spec: mujoco.MjSpec, name: str) -> None:
        """Adds the sensor."""
        if self.what not in FRAME_SENSORS:
            raise UnknownNameError("frame reading", self.what, FRAME_SENSORS, f"quantity {name}")
        sensor = spec.add_sensor()
        sensor.name, sensor.type = f"quantity/{name}", FRAME_SENSORS[self.what][0]
        sensor.objtype, sensor.objname = _OBJECTS[self.kind], self.object

    def bind(self, model: mujoco.MjModel, name: str) -> Reader:
        """Finds the sensor's address."""
        return _sensor(model, f"quantity/{name}")


@dataclass(frozen=True)
class CenterOfMass:
    """Centre of mass `(3,)` [m, world] of a body and everything that hangs on it."""

    body: str

    def install(self, spec: mujoco.MjSpec, name: str) -> None:
        """Adds the sensor."""
        sensor = spec.add_sensor()
        sensor.name, sensor.type = f"quantity/{name}", mujoco.mjtSensor.mjSENS_SUBTREECOM
        sensor.objtype, sensor.objname = mujoco.mjtObj.mjOBJ_BODY, self.body

    def bind(self, model: mujoco.MjModel, name: str) -> Reader:
        """Finds the sensor's address."""
        return _sensor(model, f"quantity/{name}")


@dataclass(frozen=True)
class Sensor(_NoSensor):
    """A sensor that the model already has, by name; a one-dimensional one reads as a scalar."""

    sensor: str

    def bind(self, model: mujoco.MjModel, name: str) -> Reader:
        """Finds the sensor's address."""
        return _sensor(model, self.sensor)


@dataclass(frozen=True)
class Parameter(_NoSensor):
    """A constant of the episode that `reset` drew, such as a goal position."""

    name: str

    def bind(self, model: mujoco.MjModel, name: str) -> Reader:
        """Reads the parameter."""
        return lambda frames, values: frames.parameters[self.name]


@dataclass(frozen=True)
class Computed(_NoSensor):
    """A formula over other quantities: `function(values) -> (n, ...)`, batched over independent rows."""

    function: Callable[[Mapping[str, np.ndarray]], np.ndarray]

    def bind(self, model: mujoco.MjModel, name: str) -> Reader:
        """Calls the formula."""
        return lambda frames, values: self.function(values)


def joint_id(model: mujoco.MjModel, name: str) -> int:
    """Id of a joint by name; an unknown name lists the model's joints."""
    found = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name)
    if found < 0:
        raise UnknownNameError("joint", name, [model.joint(i).name for i in range(model.njnt)])
    return found


def _names(joints: str | Sequence[str]) -> list[str]:
    return [joints] if isinstance(joints, str) else list(joints)


def _columns(columns: list[Any], *, scalar: bool):
    if scalar:
        return lambda frames, values: frames.states[:, columns[0]]
    if columns == list(range(columns[0], columns[0] + len(columns))):
        start, stop = columns[0], columns[0] + len(columns)
        return lambda frames, values: frames.states[:, start:stop]
    return lambda frames, values: frames.states[:, columns]


def _sensor(model: mujoco.MjModel, sensor_name: str):
    sensor = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SENSOR, sensor_name)
    if sensor < 0:
        raise UnknownNameError("sensor", sensor_name, [model.sensor(i).name for i in range(model.nsensor)])
    start, length = int(model.sensor_adr[sensor]), int(model.sensor_dim[sensor])
    if length == 1:
        return lambda frames, values: frames.sensors[:, start]
    return lambda frames, values: frames.sensors[:, start : start + length]
