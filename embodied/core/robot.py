"""The robot contract: one protocol for simulator, twin and metal. SI units and radians at this border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class RobotState:
    """One reading of a robot's joints, in the robot's order of joints.

    Attributes:
        stamp_s: when the reading reached this machine, monotonic clock [s].
        position_rad: `(J,)` [rad].
        velocity_radps: `(J,)` [rad/s].
        torque_nm: `(J,)` [Nm], None where the robot does not tell.
        temperature_c: `(J,)` [deg C], None where the robot does not tell.
    """

    stamp_s: float
    position_rad: tuple[float, ...]
    velocity_radps: tuple[float, ...]
    torque_nm: tuple[float, ...] | None = None
    temperature_c: tuple[float, ...] | None = None


@runtime_checkable
class Robot(Protocol):
    """What a control loop drives.

    A robot connects without moving and without torque; `arm` makes it hold where it stands; `send` is what moves it,
    and nothing but the gate's answer may be sent. `release` takes the torque off: without it an arm falls.

    Attributes:
        name: of the kind of robot.
        joints: names of the joints in the order of every `(J,)` here; known before connecting.
        observation_features: LeRobot's keys (`<joint>.pos`) and what each gives; known before connecting.
        action_features: the same for what `send` takes.
    """

    name: str
    joints: tuple[str, ...]
    observation_features: Mapping[str, type]
    action_features: Mapping[str, type]

    def connect(self) -> None:
        """Opens the connection and checks that the right robot, rightly calibrated, is at its end.

        Raises:
            RobotLostError: nothing answers.
            CalibrationError: the robot's calibration is not the file's; names the joint.
        """
        ...

    def arm(self) -> RobotState:
        """Torque on, holding the present position, which is returned."""
        ...

    def observe(self) -> RobotState:
        """A fresh reading.

        Raises:
            RobotError: readings keep failing.
            RobotLostError: the connection is gone.
        """
        ...

    def send(self, target_rad: Sequence[float]) -> tuple[float, ...]:
        """Commands joint targets `(J,)` [rad]; returns what was really sent, in the robot's own resolution."""
        ...

    def release(self) -> None:
        """Torque off."""
        ...

    def disconnect(self) -> None:
        """Closes the connection and changes nothing else; never raises, may be called twice."""
        ...
