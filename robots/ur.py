"""Universal Robots e-Series arms through `ur-rtde` (extra `ur`), which is imported when connecting.

Traps of the SDK (1.6.5, measured or read in its source), and what is done:
- `servoJ` sends NaN and any jump and returns True: targets are checked here, and every one passes the gate before.
- A controller that stands still or is out of reach leaves `servoJ` returning True and the last readings in place, for
  seconds: alive is what the controller's own clock says, never a return value.
- The control interface reconnects by itself and cannot be told not to. With `FLAG_NO_WAIT` alone it does not start the
  program when it does: a robot that was lost stands until a person arms it.
- The controller's registers keep the last command, which a program that is started anew would obey: cleared before.
- When the client dies, `servoJ` goes to its last target and `speedJ` moves on for ever: `servoJ` only, and the watchdog
  of the controller is armed with the program, before the first target.
- Requests to a controller that stands still may wait for ever, and closing too: the dashboard, which has time limits,
  is asked first, and closing is waited for `CLOSED_S` at most.
- It has no function for measured torques (`target_moment` is the controller's model): none are told.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embodied.core.assets import sim_assets_dir
from embodied.core.clock import Clock, MonotonicClock
from embodied.core.errors import CalibrationError, ConfigError, RobotError, RobotLostError
from embodied.core.robot import RobotState

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
MAX_RAD, MAX_SPEED_RADPS = 2.0 * math.pi, math.pi  # data sheet: 360 degrees either way, 180 degrees/s, all joints
HZ = 500.0  # of readings: the controller's own rate
READ = (
    "timestamp", "actual_q", "actual_qd", "target_q", "joint_temperatures", "robot_mode", "safety_status_bits",
    "runtime_state",
)  # fmt: skip
STALE_S = 0.08  # without a tick of the controller's clock
# The watchdog ends the program when nothing is heard for 1 / Hz. The period belongs to the scheduling class: beside
# four busy processes on two cores a client of normal priority came up to 64 ms late, a real-time one 7 ms (measured).
WATCHDOG_HZ = {"real time": 20.0, "normal": 5.0}
FIRST_WATCHDOG_HZ = 1.0  # from arming to the first target
LOOKAHEAD_S, GAIN, SERVO_S = 0.1, 300.0, 0.008  # servoj's own defaults; how long one target acts alone
POWERED_S, PROGRAM_S, STOPPED_S, CLOSED_S = 20.0, 5.0, 2.0, 6.0  # at most
IDLE, RUNNING = 5, 7  # robot_mode
_SAFETY = {
    2: "protective stop", 3: "recovery mode", 4: "safeguard stop", 5: "emergency stop of the system",
    6: "emergency stop of the robot", 7: "emergency stop", 8: "safety violation", 9: "safety fault",
}  # fmt: skip
_NOISE_RAD = 0.02


@dataclass(frozen=True)
class _Reading:
    stamp_s: float  # the controller's own
    position: tuple[float, ...]
    velocity: tuple[float, ...]
    target: tuple[float, ...]
    temperature: tuple[float, ...]
    mode: int
    safety: int

    @property
    def sane(self) -> bool:
        """Whether a robot can be in this state at all."""
        values = (self.stamp_s, *self.position, *self.velocity, *self.temperature)
        return all(map(math.isfinite, values)) and all(abs(v) <= 2.0 * MAX_SPEED_RADPS for v in self.velocity)

    def possible_after(self, before: _Reading) -> bool:
        """Whether it can have come here from there."""
        passed_s = self.stamp_s - before.stamp_s
        most = MAX_SPEED_RADPS * passed_s + _NOISE_RAD
        return passed_s > 0.0 and all(abs(a - b) <= most for a, b in zip(self.position, before.position, strict=True))


class UrArm:
    """One arm behind its controller.

    Args:
        name: kind of robot.
        host: network address of the controller, which must be in remote control.
        model: what the controller must say that it is, such as `UR5`.
        serial_number: of this very robot; its calibration is in its controller.
        clock: what stamps readings.
    """

    def __init__(self, name: str, host: str, *, model: str, serial_number: str, clock: Clock | None = None) -> None:
        self.name, self.joints, self.host = name, JOINTS, host
        self.observation_features: Mapping[str, type] = {f"{joint}.pos": float for joint in JOINTS}
        self.action_features = self.observation_features
        self._model, self._serial_number = model, str(serial_number)
        self._clock: Clock = clock or MonotonicClock()
        self._dashboard: Any = None
        self._receive: Any = None
        self._control: Any = None
        self._forget()
        self._lost = "not connected: call connect() first"

    def _forget(self) -> None:
        self._lost = ""
        self._stopped = "not armed: call arm() first"
        self._watched = False
        self._believed: _Reading | None = None
        self._doubted: _Reading | None = None
        self._state: RobotState | None = None
        self._stamp, self._ticked_s = math.nan, 0.0

    def connect(self) -> None:
        """Asks the controller who it is, then opens both interfaces. Power, brakes and program stay as they are.

        Raises:
            RobotLostError: nothing answers at this address.
            CalibrationError: another robot answers.
            RobotError: the controller refuses: not in remote control, or another client has its inputs.
        """
        dashboard, receive, control = _sdk()
        self._dashboard = dashboard.DashboardClient(self.host)
        try:
            self._dashboard.connect()
        except RuntimeError as error:
            self.disconnect()
            raise RobotLostError(
                f"no controller at {self.host}: {error}. Is it on, and the address that of its network settings?"
            ) from None
        try:
            self._check_identity()
            self._receive = receive.RTDEReceiveInterface(self.host, HZ, list(READ))
            self._control = control.RTDEControlInterface(self.host, HZ, control.RTDEControlInterface.FLAG_NO_WAIT)
        except (RuntimeError, ValueError) as error:
            self.disconnect()
            raise RobotError(f"{self.name} at {self.host} does not take this client: {error}") from None
        except RobotError:
            self.disconnect()
            raise
        self._forget()

    def arm(self) -> RobotState:
        """Power on and brakes open where it needs to, then the control program: it holds where it stands.

        Raises:
            RobotError: a safety stop, a program of someone else's, or the robot does not get ready in time.
        """
        state = self.observe()
        self._stopped, self._watched = "arming has not ended", False
        self._wait(
            lambda: not self._control.isProgramRunning(), STOPPED_S, "has another program running: stop it first"
        )
        with self._asking():
            if self._read().mode < IDLE:
                self._dashboard.powerOn()
        self._wait(lambda: self._read().mode >= IDLE, POWERED_S, "did not power on: is the pendant asking something?")
        with self._asking():
            if self._read().mode != RUNNING:
                self._dashboard.brakeRelease()
        self._wait(lambda: self._read().mode == RUNNING, POWERED_S, "did not open its brakes")
        with self._asking():
            self._control.kickWatchdog()  # without a program this clears the registers, and only that
            time.sleep(0.02)  # some rounds of the controller
            self._control.reuploadScript()
        self._wait(
            self._control.isProgramRunning, PROGRAM_S, "did not start the control program: see the pendant's log"
        )
        self._watch(FIRST_WATCHDOG_HZ)
        self._stopped, self._watched = "", False
        return state

    def observe(self) -> RobotState:
        """The newest reading.

        Raises:
            RobotError: the controller stands still, is stopped by its safety system, or tells what cannot be.
            RobotLostError: the connection is gone.
        """
        now_s = self._clock.now_s()
        reading = self._alive(now_s)
        if self._state is not None and self._believed is not None and reading.stamp_s == self._believed.stamp_s:
            return self._state
        known = [one for one in (self._believed, self._doubted) if one is not None]
        self._doubted = reading
        if not reading.sane or (known and not any(map(reading.possible_after, known))):
            raise RobotError(f"{self.name}: a reading that no joint can have come to: {reading.position}")
        self._believed, self._doubted = reading, None
        self._state = RobotState(self._ticked_s, reading.position, reading.velocity, None, reading.temperature)
        return self._state

    def send(self, target_rad: Sequence[float]) -> tuple[float, ...]:
        """Targets `(J,)` [rad], inside the joints' range; returns what was sent [rad].

        Raises:
            RobotError: no number, or a controller that stands still, is stopped, runs no program: nothing was sent.
            RobotLostError: the connection is gone.
        """
        if len(target_rad) != len(JOINTS):
            raise ConfigError(f"{self.name}: {len(target_rad)} targets for {len(JOINTS)} joints")
        wanted = [float(value) for value in target_rad]
        for joint, value in zip(JOINTS, wanted, strict=True):
            if not math.isfinite(value):
                raise RobotError(f"joint '{joint}': target {value} is no number; nothing was sent")
        sent = tuple(min(max(value, -MAX_RAD), MAX_RAD) for value in wanted)
        self._alive(self._clock.now_s())
        if self._stopped:
            raise RobotError(f"{self.name}: {self._stopped}; nothing was sent")
        if not self._watched:
            self._watch(WATCHDOG_HZ["real time" if _real_time() else "normal"])
        with self._asking():
            taken = self._control.isProgramRunning() and self._control.servoJ(
                list(sent), 0.0, 0.0, SERVO_S, LOOKAHEAD_S, GAIN
            )
        if not taken:
            for _ in range(10):  # why it ended may come a few packages later
                time.sleep(0.004)
                self._alive(self._clock.now_s())
            self._stop(
                "its control program has ended: the watchdog heard nothing, or a person stopped it. Arm it again"
            )
        return sent

    def release(self) -> None:
        """Ends the program and takes the power off: the brakes hold the arm."""
        self._alive(self._clock.now_s())
        self._stopped = "released: call arm() first"
        with self._asking():
            if self._control.isProgramRunning():
                self._dashboard.stop()
            self._dashboard.powerOff()
        self._wait(lambda: self._read().mode < IDLE, POWERED_S, "did not take its power off")

    def disconnect(self) -> None:
        """Closes the connection and changes nothing else, so that the watchdog ends the program; never raises."""
        self._lost = self._lost or "disconnected: call connect() first"
        parts = [part for part in (self._control, self._receive, self._dashboard) if part is not None]
        self._control = self._receive = self._dashboard = None
        closing = [threading.Thread(target=_close, args=(part,), daemon=True) for part in parts]
        for thread in closing:
            thread.start()
        until_s = time.monotonic() + CLOSED_S
        for thread in closing:
            thread.join(max(until_s - time.monotonic(), 0.0))

    def _check_identity(self) -> None:
        model, serial_number = self._dashboard.getRobotModel(), self._dashboard.getSerialNumber()
        if model != self._model:
            raise CalibrationError(f"the robot at {self.host} is a {model}, not a {self._model}: give another address")
        if serial_number != self._serial_number:
            raise CalibrationError(
                f"the robot at {self.host} has the serial number {serial_number}, not {self._serial_number}: give the"
                f" address of the other one, or serial_number={serial_number} if this one is meant"
            )

    def _alive(self, now_s: float) -> _Reading:
        """The newest reading of a controller whose clock runs and whose safety system lets it move."""
        reading = self._read()
        if reading.stamp_s != self._stamp:
            self._stamp, self._ticked_s = reading.stamp_s, now_s
        silent_s = now_s - self._ticked_s
        if silent_s > STALE_S:
            self._stop(f"the controller's clock stands at {self._stamp:.3f} s since {silent_s:.3f} s. Arm it again")
        reasons = [text for bit, text in _SAFETY.items() if reading.safety >> bit & 1]
        if reasons:
            lag = [abs(a - b) for a, b in zip(reading.target, reading.position, strict=True)]
            far, hot = lag.index(max(lag)), reading.temperature.index(max(reading.temperature))
            self._stop(
                f"{', '.join(reasons)} at the controller. Farthest off its target: '{JOINTS[far]}', {lag[far]:.3f} rad;"
                f" hottest: '{JOINTS[hot]}', {reading.temperature[hot]:.0f} deg C. The pendant's log has the cause:"
                " remove it, unlock the robot there, arm it again"
            )
        return reading

    def _stop(self, why: str) -> None:
        """Nothing is sent any more until a person arms it again."""
        self._stopped = self._stopped or why
        raise RobotError(f"{self.name}: {why}")

    def _read(self) -> _Reading:
        """All values of one package."""
        if self._lost:
            raise RobotLostError(f"{self.name}: {self._lost}")
        if not (self._receive.isConnected() and self._control.isConnected()):
            self._lose("the controller has closed it, or the cable is out")
        with self._asking():
            while True:
                stamp_s = self._receive.getTimestamp()
                reading = _Reading(
                    stamp_s,
                    tuple(self._receive.getActualQ()),
                    tuple(self._receive.getActualQd()),
                    tuple(self._receive.getTargetQ()),
                    tuple(self._receive.getJointTemperatures()),
                    self._receive.getRobotMode(),
                    self._receive.getSafetyStatusBits(),
                )
                if self._receive.getTimestamp() == stamp_s or math.isnan(stamp_s):
                    return reading

    def _lose(self, why: str) -> None:
        self._lost = f"connection to {self.host} is gone: {why}"
        raise RobotLostError(f"{self.name}: {self._lost}")

    @contextlib.contextmanager
    def _asking(self):
        """What the SDK raises means that the line is gone: refusals are return values."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            self._lose(str(error))

    def _watch(self, hz: float) -> None:
        with self._asking():
            if not self._control.setWatchdog(hz):
                self._stop("the controller did not arm its watchdog. Arm it again")
        self._watched = True

    def _wait(self, met: Callable[[], bool], most_s: float, why: str) -> None:
        until_s = time.monotonic() + most_s
        while not met():
            if time.monotonic() > until_s:
                raise RobotError(f"{self.name} at {self.host} {why} (waited {most_s:g} s)")
            time.sleep(0.01)


def _close(part: Any) -> None:
    with contextlib.suppress(Exception):
        part.disconnect()


def _sdk() -> tuple[Any, Any, Any]:
    try:
        import dashboard_client
        import rtde_control
        import rtde_receive
    except ImportError as error:
        raise ConfigError(f"a UR needs its SDK: pip install 'embodied-control[ur]' ({error})") from None
    return dashboard_client, rtde_receive, rtde_control


def _real_time() -> bool:
    return hasattr(os, "SCHED_FIFO") and os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)


def ur5e(host: str, serial_number: str, clock: Clock | None = None) -> UrArm:
    """A UR5e at an address.

    Args:
        host: network address of its controller, or the one that a twin prints.
        serial_number: on its label, and in the pendant's About box.
        clock: what stamps readings.
    """
    return UrArm("ur5e", host, model="UR5", serial_number=serial_number, clock=clock)


def ur5e_twin(
    model: str = "scenes/ur5e.xml",
    serial_number: str = "20235500001",
    damping_scale: float | Sequence[float] = 1.0,
    friction_scale: float | Sequence[float] = 1.0,
    delay_s: float = 0.0,
):
    """The controller of a twin of the arm.

    Args:
        model: MJCF, relative to `sim_assets/`.
        serial_number: what it says that it is.
        damping_scale: of the joints' damping, for twins with hidden parameters.
        friction_scale: of the joints' dry friction.
        delay_s: between a goal's arrival and its effect [s].
    """
    from robots.twin.ur import BrakedArm, UrController

    physics = BrakedArm(
        sim_assets_dir() / model,
        JOINTS,
        max_speed_radps=MAX_SPEED_RADPS,
        damping_scale=damping_scale,
        friction_scale=friction_scale,
        delay_s=delay_s,
    )
    return UrController(physics, model="UR5", serial_number=serial_number)
