"""The one place where intent becomes motion: read, decide, gate, send, once a control period.

The loop knows neither policy nor task: it follows a stream of chunks, goes to a pose, holds, parks. Everything that it
sends has passed the gate. What goes wrong is latched in the fault machine: hold, then park, then release.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embodied.core.clock import Clock
from embodied.core.errors import ConfigError, RobotError, RobotLostError
from embodied.core.robot import Robot, RobotState
from embodied.deploy.chunks import ChunkStream
from embodied.safety.faults import FaultMachine, Mode
from embodied.safety.gate import Gate, GateResult, Verdict

AT_POSE_RAD = 0.08  # measured, of a pose that is held against gravity
COMMANDED_RAD = 1e-4
STANDING_RADPS = 0.05


@dataclass(frozen=True)
class Motion:
    """How the robot moves when no policy moves it.

    Attributes:
        park_rad: pose in which the torque may go off `(J,)` [rad].
        speed_radps: of moves to a pose.
        soft_start_s: time after arming or resuming in which joints are slow [s].
        soft_speed_radps: at most, in that time.
        most_reading_age_s: the loop goes on with an older reading up to here; then it is a fault.
    """

    park_rad: tuple[float, ...]
    speed_radps: float = 0.6
    soft_start_s: float = 1.0
    soft_speed_radps: float = 0.25
    most_reading_age_s: float = 0.1


@dataclass(frozen=True)
class Cycle:
    """What one control period did.

    Attributes:
        now_s: when it began [s].
        state: the newest reading.
        wanted: joint targets before the gate `(J,)` [rad].
        sent: what was really sent `(J,)` [rad].
        verdict: of the gate.
        mode: of the fault machine, or `lost`.
        reasons: of gate and machine.
    """

    now_s: float
    state: RobotState
    wanted: tuple[float, ...]
    sent: tuple[float, ...]
    verdict: Verdict
    mode: Mode
    reasons: tuple[str, ...]


class ControlLoop:
    """One robot behind one gate.

    Args:
        robot: connected.
        gate: of this robot and this control period.
        machine: what happens after a fault.
        stream: where a policy's chunks arrive.
        motion: poses and speeds.
        clock: monotonic.
    """

    def __init__(
        self,
        robot: Robot,
        gate: Gate,
        machine: FaultMachine,
        stream: ChunkStream,
        motion: Motion,
        clock: Clock,
    ) -> None:
        if tuple(gate.envelope.joint_names) != tuple(robot.joints):
            raise ConfigError(
                f"the envelope bounds {', '.join(gate.envelope.joint_names)}; {robot.name} has"
                f" {', '.join(robot.joints)}, in that order"
            )
        if len(motion.park_rad) != len(robot.joints):
            raise ConfigError(f"park_rad has {len(motion.park_rad)} angles for {len(robot.joints)} joints")
        self.robot, self.gate, self.machine, self.stream = robot, gate, machine, stream
        self.motion, self._clock = motion, clock
        self._pose: tuple[float, ...] | None = None
        self._following = False
        self._soft_until_s = 0.0
        self._state: RobotState | None = None
        self.read_faults = 0
        self.lost = ""

    @property
    def state(self) -> RobotState | None:
        """The newest reading."""
        return self._state

    @property
    def at_pose(self) -> bool:
        """Whether the last `go_to` has ended, and the soft start with it."""
        return self._pose is None and self._clock.now_s() >= self._soft_until_s

    def arm(self) -> RobotState:
        """Torque on where the robot stands; slow at first."""
        self._state = self.robot.arm()
        self.gate.arm(self._state.position_rad)
        self._soft_until_s = self._clock.now_s() + self.motion.soft_start_s
        return self._state

    def follow(self, on: bool) -> None:
        """Follows the stream, or holds."""
        if on and not self._following:
            self._soft_until_s = max(self._soft_until_s, 0.0)
        self._following = on
        if not on:
            self.stream.clear()

    def go_to(self, pose_rad: Sequence[float]) -> None:
        """Moves to a pose `(J,)` [rad] and holds there."""
        if len(pose_rad) != len(self.robot.joints):
            raise ConfigError(f"{len(pose_rad)} angles for {len(self.robot.joints)} joints")
        self.follow(False)
        self._pose = tuple(float(x) for x in pose_rad)

    def reset(self, operator: str) -> None:
        """Runs again after a fault, slowly at first, by decision of a named person."""
        if self._state is None:
            raise ConfigError("the robot was never armed")
        now_s = self._clock.now_s()
        self.machine.reset(operator, now_s)
        self.gate.reset(self._state.position_rad)
        self.follow(False)
        self._pose, self._soft_until_s = None, now_s + self.motion.soft_start_s

    def cycle(self, on_reading: Callable[[RobotState, float], None] | None = None) -> Cycle:
        """One control period.

        Args:
            on_reading: told the fresh reading and the time before anything is decided: a policy that is quick enough
                acts on it in the same period.

        Raises:
            RobotLostError: the connection is gone; nothing can be sent any more. The fault is latched.
            ConfigError: not armed.
        """
        now_s = self._clock.now_s()
        state = self._read(now_s)
        if on_reading is not None:
            on_reading(state, now_s)
        mode = self.machine.tick(now_s, at_park_pose=self._stands_at(self.motion.park_rad, state))
        if mode is Mode.RELEASED:  # a goal would take the torque back on
            still = self.gate.last_command or state.position_rad
            return Cycle(now_s, state, still, still, Verdict.PASSED, mode, self.machine.reasons)
        result, wanted = self._answer(mode, state, now_s)
        if result.verdict is Verdict.FAULT and self.machine.mode in (Mode.RUNNING, Mode.PARKING):
            self.machine.fault(result.reasons[-1] if result.reasons else "gate", now_s)
        try:
            sent = self.robot.send(result.command)
        except RobotLostError as error:
            self._lose(error, now_s)
            raise
        except RobotError as error:
            self.machine.fault(str(error), now_s)
            sent = result.command
        reasons = (*result.reasons, *self.machine.reasons)
        return Cycle(now_s, state, wanted, sent, result.verdict, self.machine.mode, tuple(dict.fromkeys(reasons)))

    def _read(self, now_s: float) -> RobotState:
        if self._state is None:
            raise ConfigError("the loop is not armed: call arm() first")
        try:
            self._state = self.robot.observe()
        except RobotLostError as error:
            self._lose(error, now_s)
            raise
        except RobotError as error:
            self.read_faults += 1
            age = now_s - self._state.stamp_s
            if age > self.motion.most_reading_age_s:
                self.machine.fault(f"{error} (last reading {age:.3f} s old)", now_s)
        return self._state

    def _answer(self, mode: Mode, state: RobotState, now_s: float) -> tuple[GateResult, tuple[float, ...]]:
        last = self.gate.last_command or state.position_rad
        if mode in (Mode.PARKING, Mode.PARKED):
            wanted = self._towards(self.motion.park_rad, last, self.motion.speed_radps)
            return self.gate.park_step(wanted, measured=state.position_rad), wanted
        wanted, issued_s = self._intent(last, now_s) if mode is Mode.RUNNING else (last, now_s)
        result = self.gate.check(
            wanted,
            measured=state.position_rad,
            issued_s=issued_s,
            now_s=now_s,
            torque_nm=state.torque_nm,
            temperature_c=state.temperature_c,
        )
        return result, wanted

    def _intent(self, last: tuple[float, ...], now_s: float) -> tuple[tuple[float, ...], float]:
        if self._pose is not None:
            wanted = self._towards(self._pose, last, self.motion.speed_radps)
            if all(abs(a - b) <= COMMANDED_RAD for a, b in zip(self._pose, last, strict=True)):
                self._pose = None
            return self._softly(wanted, last, now_s), now_s
        # What is sent now acts until the next period: it is where the joints shall be by then.
        found = self.stream.target(now_s + self.gate.dt_s) if self._following else None
        if found is None:
            return last, now_s
        return self._softly(found[0], last, now_s), min(found[1], now_s)

    def _softly(self, wanted: tuple[float, ...], last: tuple[float, ...], now_s: float) -> tuple[float, ...]:
        if now_s >= self._soft_until_s:
            return wanted
        return self._towards(wanted, last, self.motion.soft_speed_radps)

    def _towards(self, pose: Sequence[float], last: Sequence[float], speed_radps: float) -> tuple[float, ...]:
        """All joints together, the farthest at the given speed."""
        away = [a - b for a, b in zip(pose, last, strict=True)]
        farthest, stride = max(map(abs, away)), speed_radps * self.gate.dt_s
        share = 1.0 if farthest <= stride else stride / farthest
        return tuple(b + share * x for b, x in zip(last, away, strict=True))

    def _stands_at(self, pose: Sequence[float], state: RobotState) -> bool:
        last = self.gate.last_command or state.position_rad
        return (
            all(abs(a - b) <= COMMANDED_RAD for a, b in zip(pose, last, strict=True))
            and all(abs(a - b) <= AT_POSE_RAD for a, b in zip(pose, state.position_rad, strict=True))
            and all(abs(v) <= STANDING_RADPS for v in state.velocity_radps)
        )

    def _lose(self, error: RobotLostError, now_s: float) -> None:
        self.lost = str(error)
        self.machine.fault(f"lost: {error}", now_s)
