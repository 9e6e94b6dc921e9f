"""What happens after a fault: hold, then park, then release. Torque goes off only after parking.

The machine decides and remembers; the control loop obeys its `mode`. A fault is left by `reset` alone, which
is a person's decision.
"""

from __future__ import annotations

import math
from enum import StrEnum

from embodied.core.errors import ConfigError


class Mode(StrEnum):
    """What the control loop shall do."""

    RUNNING = "running"
    HOLD = "hold"
    PARKING = "parking"
    PARKED = "parked"
    RELEASED = "released"


class FaultMachine:
    """`RUNNING -> HOLD -> PARKING -> PARKED -> RELEASED`, forward only, back to `RUNNING` by `reset`.

    Args:
        hold_s: how long to hold before parking [s].
        park_timeout_s: parking that takes longer stops in `HOLD`, for a person to decide [s].
    """

    def __init__(self, *, hold_s: float, park_timeout_s: float) -> None:
        for name, value in (("hold_s", hold_s), ("park_timeout_s", park_timeout_s)):
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name}={value!r} must be a number of seconds, not negative")
        self.hold_s, self.park_timeout_s = hold_s, park_timeout_s
        self._mode, self._since_s = Mode.RUNNING, 0.0
        self._reasons: list[str] = []
        self._stuck = False
        self.history: list[tuple[float, Mode, str]] = []

    @property
    def mode(self) -> Mode:
        """What the control loop shall do now."""
        return self._mode

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every fault since the last reset, in order."""
        return tuple(self._reasons)

    @property
    def torque_on(self) -> bool:
        """Whether the motors must hold: always, until the robot is parked and released."""
        return self._mode is not Mode.RELEASED

    def fault(self, reason: str, now_s: float) -> None:
        """Latches a fault. While running it begins to hold; a fault while parking stops the parking."""
        if reason not in self._reasons:
            self._reasons.append(reason)
        if self._mode is Mode.RUNNING:
            self._enter(Mode.HOLD, now_s, reason)
        elif self._mode is Mode.PARKING:
            self._stuck = True
            self._enter(Mode.HOLD, now_s, f"parking stopped: {reason}")

    def tick(self, now_s: float, *, at_park_pose: bool) -> Mode:
        """Moves on in time; call it every control period.

        Args:
            now_s: present time [s].
            at_park_pose: whether the measured position is the parking pose.
        """
        waited = now_s - self._since_s
        if self._mode is Mode.HOLD and not self._stuck and waited >= self.hold_s:
            self._enter(Mode.PARKING, now_s, f"held for {self.hold_s} s")
        elif self._mode is Mode.PARKING and at_park_pose:
            self._enter(Mode.PARKED, now_s, "parking pose reached")
        elif self._mode is Mode.PARKING and waited >= self.park_timeout_s:
            self._stuck = True
            self._reasons.append(f"parking took longer than {self.park_timeout_s} s")
            self._enter(Mode.HOLD, now_s, self._reasons[-1])
        return self._mode

    def park(self, now_s: float) -> None:
        """Parks at once, by decision of a person: from running, or from a hold (also after a failed parking).

        Raises:
            ConfigError: already parked or released.
        """
        if self._mode not in (Mode.RUNNING, Mode.HOLD):
            raise ConfigError(f"cannot park while {self._mode}")
        self._stuck = False
        self._enter(Mode.PARKING, now_s, "asked to park")

    def release(self, now_s: float) -> None:
        """Allows the torque to go off.

        Raises:
            ConfigError: the robot is not parked; without torque it would fall.
        """
        if self._mode is not Mode.PARKED:
            raise ConfigError(f"torque stays on while {self._mode}: the robot is not parked and would fall. Park first")
        self._enter(Mode.RELEASED, now_s, "released")

    def reset(self, operator: str, now_s: float) -> None:
        """Clears the faults and runs again, by decision of a named person.

        Raises:
            ConfigError: no name, or parking is under way.
        """
        if not operator.strip():
            raise ConfigError("a reset needs the name of the person who decided it")
        if self._mode is Mode.PARKING:
            raise ConfigError("cannot reset while parking: wait for the end of it, or fault to hold")
        self._reasons, self._stuck = [], False
        self._enter(Mode.RUNNING, now_s, f"reset by {operator}")

    def _enter(self, mode: Mode, now_s: float, why: str) -> None:
        self._mode, self._since_s = mode, now_s
        self.history.append((now_s, mode, why))
