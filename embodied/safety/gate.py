"""The gate: the last thing before `send`, the same object in simulation and on the robot.

Order of the tests: finite and of the right shape, staleness, joint limits, velocity and acceleration against
the last command, jump, workspace and keep-outs, self-collision; torque and temperature are watched at every
call. The gate always answers with what may be sent: the command, a limited one, or a braking one. Faults
latch until `reset`.

Not a safety function in the sense of ISO 10218.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from embodied.core.errors import ConfigError
from embodied.safety.envelope import Envelope
from embodied.safety.kernels import jumps, limit_scalar

_MOST_BRAKING_STEPS = 10_000  # a robot that takes longer to stop has an envelope that cannot be meant
_TESTED_RAD = 0.01  # how far apart the tested poses of a braking way may be, by the joint that moves most
_CLOCK_S = 1e-6  # differences of clock readings carry rounding errors


class Verdict(StrEnum):
    """What the gate did with an action."""

    PASSED = "passed"
    CLAMPED = "clamped"
    HELD = "held"
    FAULT = "fault"


@dataclass(frozen=True)
class GateResult:
    """The gate's answer.

    Attributes:
        command: joint targets that may be sent `(J,)` [rad]; braking to standstill unless passed or clamped.
        verdict: what was done.
        reasons: why, one line each; empty when passed.
    """

    command: tuple[float, ...]
    verdict: Verdict
    reasons: tuple[str, ...]


class Gate:
    """Limits one robot's commands to its envelope.

    Args:
        envelope: the bounds.
        dt_s: time between two commands [s].
        tool_position: joint targets `(J,)` [rad] -> tool position `(3,)` [m, world]. None leaves workspace
            and keep-outs unchecked; that has to be written.
        self_collides: joint targets `(J,)` [rad] -> whether the robot would touch itself. None leaves it
            unchecked.
    """

    def __init__(
        self,
        envelope: Envelope,
        dt_s: float,
        *,
        tool_position: Callable[[Sequence[float]], Sequence[float]] | None,
        self_collides: Callable[[Sequence[float]], bool] | None,
    ) -> None:
        if not (math.isfinite(dt_s) and dt_s > 0):
            raise ConfigError(f"dt_s={dt_s!r} must be a positive number of seconds")
        self.envelope, self.dt_s = envelope, float(dt_s)
        self._tool_position, self._self_collides = tool_position, self_collides
        self._max_acceleration = envelope.of("max_acceleration_radps2")
        self._limits = {
            "low": envelope.low_rad,
            "high": envelope.high_rad,
            "max_velocity": envelope.of("max_velocity_radps"),
            "max_acceleration": self._max_acceleration,
            "dt_s": self.dt_s,
        }
        self._max_jump = envelope.of("max_jump_rad")
        self._last: tuple[float, ...] | None = None
        self._velocity = (0.0,) * len(envelope.joints)
        self._over_since: dict[str, float] = {}
        self._faults: tuple[str, ...] = ()
        self.counts: dict[Verdict, int] = dict.fromkeys(Verdict, 0)

    @property
    def faults(self) -> tuple[str, ...]:
        """Latched faults; empty while there are none."""
        return self._faults

    @property
    def last_command(self) -> tuple[float, ...] | None:
        """The last command `(J,)` [rad], None before `arm`."""
        return self._last

    def arm(self, measured: Sequence[float]) -> None:
        """Begins at the measured position `(J,)` [rad], at rest, from which the first command is limited.

        Raises:
            ConfigError: not finite, of a wrong length, or outside the joint limits.
        """
        values = _floats(measured, len(self._velocity))
        if values is None:
            raise ConfigError(f"measured position {measured!r} must be {len(self._velocity)} finite numbers [rad]")
        for name, value in zip(self.envelope.joint_names, values, strict=True):
            limits = self.envelope.joints[name]
            if not limits.low_rad <= value <= limits.high_rad:
                raise ConfigError(
                    f"joint '{name}' stands at {value:.4f} rad, outside its bounds [{limits.low_rad},"
                    f" {limits.high_rad}]: move it by hand with the torque off, or correct the envelope"
                )
        self._last, self._velocity = values, (0.0,) * len(values)

    def reset(self, measured: Sequence[float]) -> None:
        """Clears latched faults by decision of a person, and arms anew at the measured position."""
        self.arm(measured)
        self._faults, self._over_since = (), {}

    def check(
        self,
        target: Sequence[float],
        *,
        measured: Sequence[float],
        issued_s: float,
        now_s: float,
        torque_nm: Sequence[float] | None,
        temperature_c: Sequence[float] | None,
    ) -> GateResult:
        """Passes, limits or refuses one action.

        Args:
            target: wanted joint targets `(J,)` [rad].
            measured: joint positions `(J,)` [rad].
            issued_s: when the observation behind the action was taken [s].
            now_s: present time on the same clock [s].
            torque_nm: joint torques `(J,)` [Nm], None where the robot has no such reading.
            temperature_c: motor temperatures `(J,)` [deg C], None where the robot has no such reading.

        Raises:
            ConfigError: the gate was not armed.
        """
        self._monitor("torque", torque_nm, "max_torque_nm", "Nm", now_s)
        self._monitor("temperature", temperature_c, "max_temperature_c", "deg C", now_s)
        if self._faults:
            return self._braked(Verdict.FAULT, self._faults)
        return self._moved(target, measured, issued_s, now_s)

    def park_step(self, target: Sequence[float], *, measured: Sequence[float]) -> GateResult:
        """One command on the way to the parking pose: limited like any other, allowed while a fault is
        latched.

        Staleness is not tested, as parking has no policy behind it.
        """
        latched, self._faults = self._faults, ()
        result = self._moved(target, measured, 0.0, 0.0)
        self._faults = latched + tuple(reason for reason in self._faults if reason not in latched)
        return result

    def allows(self, target: Sequence[float]) -> bool:
        """Whether the robot may stand at joint targets `(J,)` [rad]: limits, workspace, self-collision."""
        bounds = zip(target, self.envelope.low_rad, self.envelope.high_rad, strict=True)
        inside = all(low <= x <= high for x, low, high in bounds)
        return inside and not self._blocked(target, (0.0,) * len(self.envelope.joint_names))

    def _moved(self, target: Sequence[float], measured: Sequence[float], issued_s: float, now_s: float) -> GateResult:
        if self._last is None:
            raise ConfigError("the gate is not armed: call arm(measured) first")
        wanted, position = _floats(target, len(self._last)), _floats(measured, len(self._last))
        if wanted is None:
            return self._braked(Verdict.HELD, (f"action is not {len(self._last)} finite numbers: {target!r:.80}",))
        if position is None:
            return self._fault(f"measured position is not {len(self._last)} finite numbers: {measured!r:.80}")
        age = now_s - issued_s
        if not 0.0 <= age <= self.envelope.max_action_age_s:
            return self._braked(
                Verdict.HELD, (f"action is {age:.3f} s old; at most {self.envelope.max_action_age_s} s",)
            )
        command, velocity, clamped = limit_scalar(wanted, self._last, self._velocity, **self._limits)
        for what, values in (("wanted", wanted), ("commanded", command)):
            far = jumps(values, position, self._max_jump)
            if far:
                name = self.envelope.joint_names[far[0]]
                return self._fault(
                    f"jump: joint '{name}' {what} at {values[far[0]]:.4f} rad, measured at"
                    f" {position[far[0]]:.4f}, at most {self._max_jump[far[0]]} apart"
                )
        blocked = self._blocked(command, velocity)
        if blocked:
            return self._braked(Verdict.HELD, blocked)
        names = [n for n, was in zip(self.envelope.joint_names, clamped, strict=True) if was]
        reasons = (f"limited: {', '.join(names)}",) if names else ()
        return self._answer(command, velocity, Verdict.CLAMPED if names else Verdict.PASSED, reasons)

    def _blocked(self, command: Sequence[float], velocity: Sequence[float]) -> tuple[str, ...]:
        """Why a command may not be sent: tested where it leads, and along the way of braking from there.

        So a later command that is refused brakes along a way that was tested before it was entered.
        """
        for joints in self._braking(command, velocity):
            if self._tool_position is not None:
                tool = tuple(float(x) for x in self._tool_position(joints))
                if not self.envelope.allows_tool_at(tool):
                    where = ", ".join(f"{x:.3f}" for x in tool)
                    return (f"workspace: the tool would come to ({where}) m, which is not allowed",)
            if self._self_collides is not None and self._self_collides(joints):
                return ("self-collision: the robot would touch itself",)
        return ()

    def _braking(self, command: Sequence[float], velocity: Sequence[float]) -> Iterator[Sequence[float]]:
        """The command, those of `_braked` after it that are `_TESTED_RAD` apart, and the one at which it stands."""
        yield command
        if self._tool_position is None and self._self_collides is None:
            return
        tested = command
        for _ in range(_MOST_BRAKING_STEPS):
            if not any(velocity):
                break
            command, velocity, _ = limit_scalar(command, command, velocity, **self._limits)
            if any(abs(a - b) >= _TESTED_RAD for a, b in zip(command, tested, strict=True)):
                tested = command
                yield command
        if command is not tested:
            yield command

    def _monitor(self, kind: str, values: Sequence[float] | None, bound: str, unit: str, now_s: float) -> None:
        """Latches a fault when a joint's reading stays too high, or not finite, for `persistence_s`."""
        if values is None:
            return
        if len(values) != len(self.envelope.joints):
            raise ConfigError(f"{kind}: {len(values)} readings for {len(self.envelope.joints)} joints")
        for name, most, value in zip(self.envelope.joint_names, self.envelope.of(bound), values, strict=True):
            key = f"{kind}/{name}"
            if abs(value) <= most and math.isfinite(value):
                self._over_since.pop(key, None)
            elif now_s - self._over_since.setdefault(key, now_s) >= self.envelope.persistence_s - _CLOCK_S:
                reason = f"{kind} of joint '{name}' above {most} {unit}"
                if not any(fault.startswith(reason) for fault in self._faults):
                    self._faults = (*self._faults, f"{reason} for {self.envelope.persistence_s} s: {value}")

    def _fault(self, reason: str) -> GateResult:
        self._faults = (*self._faults, reason)
        return self._braked(Verdict.FAULT, self._faults)

    def _braked(self, verdict: Verdict, reasons: tuple[str, ...]) -> GateResult:
        """Brakes to standstill within the limits; a robot at rest is held where it is."""
        if self._last is None:
            raise ConfigError("the gate is not armed: call arm(measured) first")
        command, velocity, _ = limit_scalar(self._last, self._last, self._velocity, **self._limits)
        return self._answer(command, velocity, verdict, reasons)

    def _answer(
        self, command: Sequence[float], velocity: Sequence[float], verdict: Verdict, reasons: tuple[str, ...]
    ) -> GateResult:
        self._last, self._velocity = tuple(command), tuple(velocity)
        self.counts[verdict] += 1
        return GateResult(self._last, verdict, reasons)


def _floats(values: Sequence[float], length: int) -> tuple[float, ...] | None:
    """The values as floats, or None where they are not `length` finite real numbers."""
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        return None
    if len(numbers) != length or not all(math.isfinite(number) for number in numbers):
        return None
    return numbers
