"""What a robot may do: every bound written down, none by default.

An envelope is data from `conf/safety/*.yaml`. A missing, misspelt or contradictory bound is an error that
names it; "no limit" has to be written as `.inf`. This is not a safety function in the sense of ISO 10218.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from embodied.core.errors import ConfigError, UnknownNameError


@dataclass(frozen=True)
class JointLimits:
    """Bounds of one joint. All but the position bounds may be infinite, but must be written.

    Attributes:
        low_rad: lowest target [rad].
        high_rad: highest target [rad].
        max_velocity_radps: highest commanded speed [rad/s].
        max_acceleration_radps2: highest change of the commanded speed [rad/s^2].
        max_jump_rad: furthest that a wanted or commanded target may lie from the measured position [rad].
        max_torque_nm: highest torque that may persist [Nm].
        max_temperature_c: highest motor temperature that may persist [deg C].
    """

    low_rad: float
    high_rad: float
    max_velocity_radps: float
    max_acceleration_radps2: float
    max_jump_rad: float
    max_torque_nm: float
    max_temperature_c: float


@dataclass(frozen=True)
class Box:
    """An axis-aligned box in the world frame, corners `(3,)` [m]."""

    low_m: tuple[float, float, float]
    high_m: tuple[float, float, float]

    def __post_init__(self) -> None:
        for name in ("low_m", "high_m"):
            corner = getattr(self, name)
            if isinstance(corner, str) or not isinstance(corner, Sequence) or len(corner) != 3:
                raise ConfigError(f"box: {name}={corner!r} must be three numbers [m]")
            object.__setattr__(self, name, tuple(_number(f"box: {name}", value) for value in corner))
        if not all(low < high for low, high in zip(self.low_m, self.high_m, strict=True)):
            raise ConfigError(f"box: low_m={self.low_m} must lie below high_m={self.high_m} on every axis")

    def contains(self, point: Sequence[float]) -> bool:
        """Whether `point (3,)` [m] lies in the box, border included; NaN lies nowhere."""
        return all(a <= x <= b for a, x, b in zip(self.low_m, point, self.high_m, strict=True))


@dataclass(frozen=True)
class Envelope:
    """The bounds of one robot in one place.

    Attributes:
        joints: bounds by joint, in the order of the robot's commands.
        workspace: where the tool may be.
        keep_outs: where, inside the workspace, it may not.
        max_action_age_s: an action older than this is not sent [s].
        persistence_s: how long torque or temperature must be too high to be a fault [s].
    """

    joints: Mapping[str, JointLimits]
    workspace: Box
    keep_outs: tuple[Box, ...]
    max_action_age_s: float
    persistence_s: float

    def __post_init__(self) -> None:
        if not isinstance(self.joints, Mapping) or not self.joints:
            raise ConfigError("an envelope needs 'joints': a mapping from joint name to its bounds")
        put = object.__setattr__
        put(self, "joints", {str(name): _joint(str(name), value) for name, value in self.joints.items()})
        put(self, "workspace", _made(Box, self.workspace, "workspace"))
        if isinstance(self.keep_outs, Mapping | str) or not isinstance(self.keep_outs, Sequence):
            raise ConfigError("envelope: keep_outs must be a list of boxes ([] for none)")
        boxes = [_made(Box, box, f"keep_outs[{i}]") for i, box in enumerate(self.keep_outs)]
        put(self, "keep_outs", tuple(boxes))
        for name in ("max_action_age_s", "persistence_s"):
            put(self, name, _positive(f"envelope: {name}", getattr(self, name)))

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The joints in the order of commands."""
        return tuple(self.joints)

    @cached_property
    def low_rad(self) -> tuple[float, ...]:
        """Lowest targets `(J,)` [rad]."""
        return self.of("low_rad")

    @cached_property
    def high_rad(self) -> tuple[float, ...]:
        """Highest targets `(J,)` [rad]."""
        return self.of("high_rad")

    def of(self, bound: str) -> tuple[float, ...]:
        """One bound of all joints `(J,)`, by its name in `JointLimits`."""
        return tuple(getattr(limits, bound) for limits in self.joints.values())

    def allows_tool_at(self, point: Sequence[float]) -> bool:
        """Whether the tool may be at `point (3,)` [m, world]."""
        return self.workspace.contains(point) and not any(box.contains(point) for box in self.keep_outs)


def load_envelope(path: Path) -> Envelope:
    """Reads an envelope from a yaml file.

    Raises:
        ConfigError: no such file, no yaml, or a bound is missing, unknown or contradictory.
    """
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"no envelope in {path}: {error}. A robot does not move without one") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"envelope {path} is not yaml: {error}") from None
    if isinstance(data, Mapping):
        data = {key: value for key, value in data.items() if key != "_target_"}
    return _made(Envelope, data, f"envelope {path}")


def _joint(name: str, value: Any) -> JointLimits:
    where = f"joint '{name}'"
    limits = _made(JointLimits, value, where)
    for bound in fields(JointLimits):
        given = getattr(limits, bound.name)
        if bound.name in ("low_rad", "high_rad"):
            checked = _number(f"{where}: {bound.name}", given)
        else:
            checked = _positive(f"{where}: {bound.name}", given)
        object.__setattr__(limits, bound.name, checked)
    if not limits.low_rad < limits.high_rad:
        raise ConfigError(f"{where}: low_rad={limits.low_rad} must lie below high_rad={limits.high_rad}")
    return limits


def _made(kind: Any, value: Any, where: str) -> Any:
    """A dataclass from a mapping; a wrong or missing key is answered with the real ones."""
    if isinstance(value, kind):
        return value
    known = [f.name for f in fields(kind)]
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}={value!r} must be a mapping with the keys {', '.join(known)}")
    for key in value:
        if key not in known:
            raise UnknownNameError("key", str(key), known, where)
    missing = [name for name in known if name not in value]
    if missing:
        raise ConfigError(f"{where}: no value for {', '.join(missing)}. Bounds have no defaults; .inf is no limit")
    return kind(**value)


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{where}={value!r} must be a finite number")
    return float(value)


def _positive(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError(f"{where}={value!r} must be a positive number (.inf for no limit)")
    return float(value)
