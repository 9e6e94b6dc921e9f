"""What the servos of both vendors' twins have in common towards the process that runs them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robots.calibration import MotorCalibration
from robots.twin.physics import ArmPhysics
from robots.twin.wire import PtyWire

GAP_S = 0.002  # of silence inside a packet, after which servos wait for a new one


class SerialServos(ABC):
    """All servos of one bus, on a pseudo terminal.

    Args:
        physics: the arm.
        calibration: what is burnt into the servos, by joint.
    """

    def __init__(self, physics: ArmPhysics, calibration: Mapping[str, MotorCalibration]) -> None:
        self.physics = physics
        self._burnt = {joint: asdict(calibration[joint]) for joint in physics.joints}
        self.motors = {calibration[joint].id: i for i, joint in enumerate(physics.joints)}
        self.forced_temperature_c: dict[int, float] = {}
        self._buffer, self._heard_last_s = bytearray(), 0.0

    def open_wire(self, seed: int, log: Path | None) -> PtyWire:
        """The line that they are on."""
        return PtyWire(seed=seed, log=log)

    def connection(self, wire: PtyWire) -> dict[str, Any]:
        """What a driver must be told: the device, and the calibration that was burnt into the servos."""
        return {"port": wire.port, "calibration": self._burnt}

    @property
    def orders(self) -> Mapping[str, Callable[[Any], None]]:
        """What the twin's owner can order: `overheat: [joint, deg C]`, `overload: joint`."""
        return {"overheat": self._overheat, "overload": lambda joint: self.overload(self._motor(joint), on=True)}

    def status(self) -> dict[str, Any]:
        """What the owner is told besides the physics."""
        return {}

    def receive(self, data: bytes) -> bytes:
        """Takes what came over the wire; gives what the servos answer.

        A packet whose rest does not come is forgotten: its length may have been corrupted.
        """
        now_s = time.monotonic()
        if now_s - self._heard_last_s > GAP_S:
            self._buffer.clear()
        self._buffer += data
        self._heard_last_s = now_s
        return self._answers()

    @abstractmethod
    def _answers(self) -> bytes:
        """What the servos answer to the whole packets in the buffer, which are taken out of it."""

    @abstractmethod
    def tick(self) -> None:
        """Time has passed."""

    @abstractmethod
    def overload(self, motor: int, on: bool) -> None:
        """The servo complains of overload, or stops complaining."""

    def _overheat(self, given: tuple[str, float]) -> None:
        self.forced_temperature_c[self._motor(given[0])] = float(given[1])

    def _motor(self, name: str) -> int:
        index = self.physics.index(name)
        return next(motor for motor, i in self.motors.items() if i == index)
