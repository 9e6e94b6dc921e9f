"""An arm of serial servos as a `Robot`: counts to radians, retries, and readings that cannot be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from embodied.core.clock import Clock, MonotonicClock
from embodied.core.errors import CalibrationError, ConfigError, RobotError
from embodied.core.robot import RobotState
from robots.calibration import RAD_PER_COUNT, check_against_servos, load_calibration, scales
from robots.servo_bus import BusFaultError, ServoBus, ServoReading

RETRIES = 2  # of one reading, for the servos that did not answer
MOST_FAILURES = 5  # readings in a row that may fail before the robot counts as faulty


class SerialArm:
    """Joints on one bus.

    Args:
        name: kind of robot.
        bus: the servos.
        mechanical_rad: lowest and highest angle of each joint as the robot is built [rad], in the order of commands.
        calibration: LeRobot's JSON file of this very arm.
        model_number: what the servos must say that they are, one number for all or one a joint.
        stall_torque_nm: torque at load 1, for all or by joint [Nm].
        max_speed_radps: the fastest that a joint can turn [rad/s]; a reading that implies more is not believed.
        clock: what stamps readings.
    """

    def __init__(
        self,
        name: str,
        bus: ServoBus,
        *,
        mechanical_rad: Mapping[str, tuple[float, float]],
        calibration: str | Path,
        model_number: int | Mapping[str, int],
        stall_torque_nm: float | Mapping[str, float],
        max_speed_radps: float,
        clock: Clock | None = None,
    ) -> None:
        self.name, self.bus, self.joints = name, bus, tuple(mechanical_rad)
        self.observation_features: Mapping[str, type] = {f"{joint}.pos": float for joint in self.joints}
        self.action_features = self.observation_features
        self._calibration_path = Path(calibration)
        self._models = dict.fromkeys(self.joints, model_number) if isinstance(model_number, int) else dict(model_number)
        self._max_speed_radps = max_speed_radps
        stall = stall_torque_nm
        self._stall = tuple(stall[j] if isinstance(stall, Mapping) else stall for j in self.joints)
        self._calibration = load_calibration(self._calibration_path)
        self._scales = scales(self._calibration, mechanical_rad)
        self._ids = {joint: self._calibration[joint].id for joint in self.joints}
        self._clock: Clock = clock or MonotonicClock()
        self._believed: dict[str, tuple[float, int]] = {}  # joint -> (time, count)
        self._doubted: dict[str, int] = {}
        self._failures = 0
        self.read_faults = 0  # single servo readings that failed or were not believed, since connecting

    def connect(self) -> None:
        """Opens the port, asks every servo what it is, compares its calibration with the file. Torque stays as it is.

        Raises:
            RobotLostError: no port.
            RobotError: a servo does not answer.
            CalibrationError: another arm's file, or another servo; names the joint.
        """
        self.bus.open()
        try:
            for joint, motor in self._ids.items():
                try:
                    model = self.bus.model_number(motor)
                except BusFaultError as error:
                    raise RobotError(f"joint '{joint}': {error}") from None
                if model != self._models[joint]:
                    raise CalibrationError(
                        f"joint '{joint}': servo {motor} says it is model {model}, not {self._models[joint]}"
                    )
            stored = {joint: self.bus.stored_calibration(motor) for joint, motor in self._ids.items()}
            check_against_servos(self._calibration, stored, self._calibration_path)
        except Exception:
            self.disconnect()
            raise
        self._believed, self._doubted, self._failures, self.read_faults = {}, {}, 0, 0

    def arm(self) -> RobotState:
        """Goals at the present position first, then torque: nothing jumps."""
        state = self.observe()
        self.send(state.position_rad)
        self.bus.set_torque_limit(self._ids.values(), 1.0)
        self.bus.set_torque(self._ids.values(), on=True)
        return state

    def observe(self) -> RobotState:
        """A fresh reading of all joints.

        Raises:
            RobotError: `MOST_FAILURES` readings in a row have failed.
            BusFaultError: this one failed; the next may succeed.
            RobotLostError: the port is gone.
        """
        found: dict[str, ServoReading] = {}
        for attempt in range(1 + RETRIES):
            missing = [joint for joint in self.joints if joint not in found]
            if attempt:
                self.read_faults += len(missing)
                self.bus.quiesce()
            answers = self.bus.read([self._ids[joint] for joint in missing])
            now_s = self._clock.now_s()
            for joint in missing:
                reading = answers.get(self._ids[joint])
                if reading is not None and self._plausible(joint, reading.count, now_s):
                    found[joint] = reading
            if len(found) == len(self.joints):
                self._failures = 0
                return self._state(found, now_s)
        self._failures += 1
        silent = ", ".join(joint for joint in self.joints if joint not in found)
        if self._failures >= MOST_FAILURES:
            raise RobotError(f"{self.name}: no believable reading of {silent}, {self._failures} times in a row")
        raise BusFaultError(f"{self.name}: no believable reading of {silent}")

    def send(self, target_rad: Sequence[float]) -> tuple[float, ...]:
        """Goals `(J,)` [rad], to whole counts inside the calibrated range; returns what was sent [rad]."""
        if len(target_rad) != len(self.joints):
            raise ConfigError(f"{self.name}: {len(target_rad)} targets for {len(self.joints)} joints")
        counts = [self._scales[joint].count(x) for joint, x in zip(self.joints, target_rad, strict=True)]
        self.bus.write_goals({self._ids[j]: count for j, count in zip(self.joints, counts, strict=True)})
        return tuple(self._scales[j].angle(count) for j, count in zip(self.joints, counts, strict=True))

    def release(self) -> None:
        """Torque off: the arm falls where it is not parked."""
        self.bus.set_torque(self._ids.values(), on=False)

    def disconnect(self) -> None:
        """Closes the port and changes nothing else; never raises, may be called twice."""
        self.bus.close()

    def _plausible(self, joint: str, count: int, now_s: float) -> bool:
        """Whether the joint can have come here since the last reading; the same place twice is believed."""
        before = self._believed.get(joint)
        if before is not None:
            possible = self._max_speed_radps * (now_s - before[0]) / RAD_PER_COUNT + 8
            doubted = self._doubted.pop(joint, None)
            if abs(count - before[1]) > possible and (doubted is None or abs(count - doubted) > possible):
                self._doubted[joint] = count
                return False
        self._believed[joint] = (now_s, count)
        return True

    def _state(self, found: Mapping[str, ServoReading], now_s: float) -> RobotState:
        readings = [found[joint] for joint in self.joints]
        loud = [f"'{j}': {', '.join(found[j].faults)}" for j in self.joints if found[j].faults]
        if loud:
            raise RobotError(f"{self.name}: the servo reports a fault of its own, joint {'; '.join(loud)}")
        ordered = [self._scales[joint] for joint in self.joints]
        return RobotState(
            stamp_s=now_s,
            position_rad=tuple(s.angle(r.count) for s, r in zip(ordered, readings, strict=True)),
            velocity_radps=tuple(
                s.sign * r.counts_per_s * RAD_PER_COUNT for s, r in zip(ordered, readings, strict=True)
            ),
            torque_nm=tuple(
                s.sign * r.load * stall for s, r, stall in zip(ordered, readings, self._stall, strict=True)
            ),
            temperature_c=tuple(r.temperature_c for r in readings),
        )
