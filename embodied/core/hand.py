"""The contract of a device by which a person moves a robot's tool: what it asks for, once a control period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

AXES = ("x", "y", "z", "pitch", "roll", "gripper")
STILL = (0.0,) * len(AXES)


@dataclass(frozen=True)
class HandCommand:
    """What a person asks for at one moment.

    Attributes:
        velocity: shares of the top speeds, -1 to 1, in the order of `AXES`: along the world's x, y and z, nose up,
            about the direction in which the tool points, and opening the gripper.
        ended: whether the person has had enough.
    """

    velocity: tuple[float, ...] = STILL
    ended: bool = False


@runtime_checkable
class Hand(Protocol):
    """A keyboard, a gamepad, or the like.

    Attributes:
        usage: how it is used, for the person.
    """

    usage: str

    def connect(self) -> None:
        """Opens the device.

        Raises:
            ConfigError: there is none, or it is something else.
        """
        ...

    def read(self, now_s: float) -> HandCommand:
        """What is asked for at a moment of the monotonic clock [s]; never waits.

        Raises:
            InputLostError: the device is gone.
        """
        ...

    def disconnect(self) -> None:
        """Leaves the device as it was; never raises, may be called twice."""
        ...


def axis_of(name: str) -> tuple[int, float]:
    """Index in `AXES` and sign of a name such as `x+` or `gripper-`.

    Raises:
        ConfigError: no such axis, or no sign.
    """
    from embodied.core.errors import ConfigError, UnknownNameError

    axis, sign = name[:-1], name[-1:]
    if sign not in ("+", "-"):
        raise ConfigError(f"'{name}' has no sign: write {name}+ or {name}-")
    if axis not in AXES:
        raise UnknownNameError("axis", axis, AXES)
    return AXES.index(axis), 1.0 if sign == "+" else -1.0
