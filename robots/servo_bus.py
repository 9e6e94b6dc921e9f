"""What a bus of serial servos can do, whatever its framing; `SerialArm` is written against this alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from embodied.core.errors import RobotError
from robots.calibration import MotorCalibration


class BusFaultError(RobotError):
    """One exchange failed (no reply, corrupted reply); the next may succeed."""


@dataclass(frozen=True)
class ServoReading:
    """One servo's block of present values.

    Attributes:
        count: position [counts].
        counts_per_s: speed.
        load: share of the stall torque, -1 to 1.
        temperature_c: of the motor [deg C].
        voltage_v: at the servo [V].
        faults: the servo's own complaints, such as `overload`.
    """

    count: int
    counts_per_s: float
    load: float
    temperature_c: float
    voltage_v: float
    faults: tuple[str, ...] = ()


class ServoBus(Protocol):
    """Half-duplex bus. Every method raises `RobotLostError` when the port is gone, `BusFaultError` when one fails.

    Attributes:
        offset_sign: 1 where a servo adds its homing offset to its encoder, -1 where it subtracts it.
    """

    offset_sign: int

    def open(self) -> None:
        """Opens the port."""
        ...

    def close(self) -> None:
        """Closes the port; never raises, may be called twice."""
        ...

    def model_number(self, motor: int) -> int:
        """Which servo answers under this id."""
        ...

    def stored_calibration(self, motor: int) -> tuple[int, int, int]:
        """Homing offset, lowest and highest count in the servo's permanent memory."""
        ...

    def store_calibration(self, calibration: MotorCalibration) -> None:
        """Writes them; the torque must be off."""
        ...

    def read(self, motors: Sequence[int]) -> Mapping[int, ServoReading]:
        """Present values of those that answered well, in one exchange."""
        ...

    def write_goals(self, counts: Mapping[int, int]) -> None:
        """Goal positions of several servos, in one exchange, without a reply."""
        ...

    def set_torque(self, motors: Iterable[int], on: bool) -> None:
        """Torque on or off, confirmed by each servo."""
        ...

    def set_torque_limit(self, motors: Iterable[int], share: float) -> None:
        """Share of the stall torque that a servo may use, 0 to 1."""
        ...

    def quiesce(self) -> None:
        """After a fault: waits out what may still be on its way and throws it away."""
        ...
