"""A Universal Robots e-Series controller as its clients see it: RTDE, script ports, dashboard, safety, MuJoCo behind.

Ports: RTDE on 30004 (500 Hz), URScript on 30001 to 30003, dashboard on 29999, on a loopback address of its own.
Fidelity: the URScript that `ur-rtde` uploads is recognised, not interpreted; the commands of its table that `_COMMANDS`
names are done again here, any other ends the program. `servoj` is a first-order lag of `lookahead_time`. The rules that
stop it (`_judge`) are our reading of the manual; power comes and brakes open at once; script ports send no state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from robots.twin.physics import ArmPhysics
from robots.twin.rtde import RtdeSession
from robots.twin.tcp import Channel, TcpWire

DASHBOARD, RTDE, SCRIPT = 29999, 30004, (30001, 30002, 30003)
VERSION = (5, 15, 0, 126452)
PROGRAM, PROGRAM_END = b"def rtde_control():", b"\nend\n"
MAX_RAD, MAX_RADPS = 2.0 * math.pi, math.pi
MOST_LAG_RAD, HOTTEST_C = 0.2, 80.0  # our choices: beyond these the controller stops
NORMAL, PROTECTIVE, EMERGENCY = 1 << 0, 1 << 2 | 1 << 10, 1 << 6 | 1 << 7 | 1 << 10  # safety_status_bits
_SAFETY_MODE = {NORMAL: (1, "NORMAL"), PROTECTIVE: (3, "PROTECTIVE_STOP"), EMERGENCY: (7, "ROBOT_EMERGENCY_STOP")}
_READY, _DONE = 1, 2  # what the uploaded program tells in its first integer register


class Power(IntEnum):
    """`robot_mode` of RTDE."""

    POWER_OFF = 3
    IDLE = 5
    RUNNING = 7


class Runtime(IntEnum):
    """`runtime_state` of RTDE: the program's."""

    STOPPED = 1
    PLAYING = 2
    PAUSED = 4


class BrakedArm(ArmPhysics):
    """An arm whose brakes hold it without power: the model's servos play both motor and brake."""

    def _apply_torque(self) -> None:
        self.model.actuator_forcerange[self._u] = self._strength * self._limit[:, None]

    @property
    def torque_nm(self) -> np.ndarray:
        """Of motors or brakes, what bears the arm's weight included `(J,)`."""
        return self.data.qfrc_actuator[self._v]


class UrController:
    """One controller and its arm.

    Args:
        physics: the arm.
        model: as the dashboard says it, such as `UR5`.
        serial_number: digits.
    """

    def __init__(self, physics: BrakedArm, *, model: str, serial_number: str) -> None:
        self.physics, self.model, self.serial_number = physics, model, serial_number
        self.power, self.runtime, self.safety = Power.POWER_OFF, Runtime.STOPPED, NORMAL
        self.cause = self.ended = ""
        self.forced_temperature_c: dict[int, float] = {}
        self._inputs: dict[str, Any] = {}
        self._owners: dict[str, RtdeSession] = {}
        self._sessions: dict[Channel, RtdeSession] = {}
        self._text: dict[Channel, bytearray] = {}
        self._told = 0
        self._forget_motion()

    def _forget_motion(self) -> None:
        """No program: it holds where its set-point is."""
        self._setpoint, self._speed = self.physics.set_point_rad.copy(), np.zeros(len(self.physics.joints))
        self._motion: Callable[[float], bool] | None = None
        self._executing = 0
        self._watchdog_s, self._heard_s = math.inf, 0.0
        self._ticked_s = self.physics.data.time

    def open_wire(self, seed: int, log: Path | None) -> TcpWire:
        """All ports, on a free loopback address."""
        return TcpWire((DASHBOARD, RTDE, *SCRIPT), seed, log)

    def connection(self, wire: TcpWire) -> dict[str, Any]:
        """What a driver must be told: the address, and the serial number to expect there."""
        return {"host": wire.address, "serial_number": self.serial_number}

    @property
    def orders(self) -> Mapping[str, Callable[[Any], None]]:
        """What the twin's owner can order: `overheat: [joint, deg C]`, `emergency_stop: true`."""
        return {
            "overheat": lambda given: self.forced_temperature_c.update({self.physics.index(given[0]): given[1]}),
            "emergency_stop": lambda _: self._stop(EMERGENCY, "the button was pressed"),
        }

    def status(self) -> dict[str, Any]:
        """What the owner is told besides the physics."""
        return {
            "program": self.runtime.name,
            "ended": self.ended,
            "safety": _SAFETY_MODE[self.safety][1],
            "cause": self.cause,
            "watchdog_s": self._watchdog_s if math.isfinite(self._watchdog_s) else None,
        }

    # What came over the wire

    def receive(self, channel: Channel, data: bytes | None) -> Sequence[bytes]:
        """Bytes of one client; b"" asks what the controller has to say, None says that the client has gone."""
        if channel.port == RTDE:
            return self._receive_rtde(channel, data)
        if data is None:
            self._text.pop(channel, None)
            return ()
        greeting = channel not in self._text and channel.port == DASHBOARD
        text = self._text.setdefault(channel, bytearray())
        text += data
        if channel.port != DASHBOARD:
            self._read_script(text)
            return ()
        answers = [b"Connected: Universal Robots Dashboard Server\n"] if greeting else []
        while (end := text.find(b"\n")) >= 0:
            line = text[:end].decode("utf-8", "replace").strip()
            del text[: end + 1]
            answers.append(self._dashboard(line).encode() + b"\n")
        return answers

    def _receive_rtde(self, channel: Channel, data: bytes | None) -> Sequence[bytes]:
        if data is None:
            if channel in self._sessions:
                self._sessions.pop(channel).close()
            return ()
        if channel not in self._sessions:
            self._sessions[channel] = RtdeSession(VERSION, self._set_inputs, self._owners)
        session = self._sessions[channel]
        return session.receive(data) if data else session.due(time.monotonic(), self._values)

    def _set_inputs(self, values: Mapping[str, Any]) -> None:
        self._inputs.update(values)
        if "input_int_register_0" in values:
            self._heard_s = self.physics.data.time
            self._program()

    def _read_script(self, text: bytearray) -> None:
        end = text.find(PROGRAM_END)
        if end < 0:
            return
        program = bytes(text[:end])
        del text[: end + len(PROGRAM_END)]
        if self.power is not Power.RUNNING or self.safety != NORMAL:
            return  # as the controller does: nothing runs, and nobody is told
        self._end("another program came")
        if program.lstrip().startswith(PROGRAM):
            self._forget_motion()  # but not its registers: what a client left in them is obeyed
            self._heard_s = self.physics.data.time
            self.runtime, self._told, self.ended = Runtime.PLAYING, _READY, ""

    def _dashboard(self, line: str) -> str:
        """One command of the dashboard server; gives its answer."""
        answers: dict[str, Callable[[], str]] = {
            "PolyscopeVersion": lambda: "URSoftware " + ".".join(map(str, VERSION)) + " (twin)",
            "get serial number": lambda: self.serial_number,
            "get robot model": lambda: self.model,
            "is in remote control": lambda: "true",
            "robotmode": lambda: f"Robotmode: {self.power.name}",
            "safetymode": lambda: f"Safetymode: {_SAFETY_MODE[self.safety][1]}",
            "safetystatus": lambda: f"Safetystatus: {_SAFETY_MODE[self.safety][1]}",
            "programState": lambda: f"{self.runtime.name} rtde_control",
            "running": lambda: f"Program running: {str(self.runtime is Runtime.PLAYING).lower()}",
            "stop": lambda: "Stopped" if self._end("stopped at the dashboard") else "Failed to execute: stop",
            "power on": lambda: self._switch(Power.IDLE, "Powering on"),
            "brake release": lambda: self._switch(Power.RUNNING, "Brake releasing"),
            "power off": lambda: self._switch(Power.POWER_OFF, "Powering off"),
            "unlock protective stop": self._unlock,
        }
        return answers[line]() if line in answers else f"could not understand: '{line}'"

    def _switch(self, power: Power, answer: str) -> str:
        if power is Power.POWER_OFF:
            self._end("power off")
            self.power = power
        elif self.safety == NORMAL:
            self.power = max(self.power, power)
        for joint in range(len(self.physics.joints)):
            self.physics.set_torque(joint, self.power is Power.RUNNING)
        return answer

    def _unlock(self) -> str:
        if self.safety == PROTECTIVE:
            self.safety, self.cause = NORMAL, ""
        return "Protective stop releasing"

    # What the program does

    def tick(self) -> None:
        """Time has passed: the watchdog, the program, its motion, and what stops it."""
        now_s = self.physics.data.time
        passed_s, self._ticked_s = now_s - self._ticked_s, now_s
        if self.runtime is not Runtime.PLAYING:
            return
        if now_s - self._heard_s > self._watchdog_s:
            self._end(f"watchdog: no input for {self._watchdog_s:.3f} s")
            return
        self._program()
        if self._motion is not None and passed_s > 0.0:
            if self._motion(passed_s):
                self._motion = None
                self._told = _DONE if self._executing else self._told
            self._judge()

    def _program(self) -> None:
        """One round of the uploaded program's main loop."""
        if self.runtime is not Runtime.PLAYING:
            return
        command = int(self._inputs.get("input_int_register_0", 0))
        if command == 0:
            self._executing, self._told = 0, _READY
        elif command in _AT_ONCE:
            _AT_ONCE[command](self)
            self._told = _READY
        elif not self._executing:
            self._executing = command
            if command not in _COMMANDS:
                self._end(f"command {command} of the uploaded program is not done again here")
            elif _COMMANDS[command](self):
                self._told = _DONE

    def _q(self) -> np.ndarray:
        return np.array([self._register(i) for i in range(6)])

    def _register(self, number: int) -> float:
        return float(self._inputs.get(f"input_double_register_{number}", 0.0))

    def _servo(self) -> None:
        target, lookahead_s = self._q(), max(self._register(9), 0.03)

        def move(passed_s: float) -> bool:
            away = (target - self._setpoint) * -math.expm1(-passed_s / lookahead_s)
            self._go(self._setpoint + away, passed_s)
            return False

        if not np.isfinite(target).all():
            self._stop(PROTECTIVE, "a target is not a number")
        elif (np.abs(target) > MAX_RAD).any():
            self._stop(PROTECTIVE, f"{self._joint(np.abs(target))}: target beyond the joint's range")
        elif (np.abs(target - self._setpoint) > MAX_RADPS * lookahead_s).any():
            self._stop(PROTECTIVE, f"{self._joint(np.abs(target - self._setpoint))}: target too far in one step")
        else:
            self._motion = move

    def _speed_j(self) -> None:
        wanted, most = np.clip(self._q(), -MAX_RADPS, MAX_RADPS), max(self._register(6), 1e-3)

        def move(passed_s: float) -> bool:
            self._speed += np.clip(wanted - self._speed, -most * passed_s, most * passed_s)
            self._go(self._setpoint + self._speed * passed_s, passed_s)
            return False

        self._motion = move

    def _move_j(self) -> bool:
        target, speed = self._q(), min(max(self._register(6), 1e-3), MAX_RADPS)

        def move(passed_s: float) -> bool:
            away = target - self._setpoint
            farthest = np.abs(away).max()
            self._go(self._setpoint + away * min(1.0, speed * passed_s / max(farthest, 1e-9)), passed_s)
            return bool(farthest <= speed * passed_s)

        self._motion = move
        return bool(self._inputs.get("input_int_register_1", 0))  # asynchronous: done at once

    def _stand(self) -> bool:
        self._motion, self._speed = None, np.zeros_like(self._speed)
        return True

    def _set_watchdog(self) -> bool:
        self._watchdog_s = 1.0 / max(self._register(0), 1e-6)
        return True

    def _go(self, setpoint: np.ndarray, passed_s: float) -> None:
        stride = MAX_RADPS * passed_s
        self._setpoint = self._setpoint + np.clip(setpoint - self._setpoint, -stride, stride)
        for joint, goal in enumerate(self._setpoint):
            self.physics.set_goal(joint, float(goal))

    def _judge(self) -> None:
        """What the controller does not stand for."""
        lag, hot = np.abs(self.physics.set_point_rad - self.physics.position_rad), self._temperature_c()
        if (lag > MOST_LAG_RAD).any():
            self._stop(PROTECTIVE, f"{self._joint(lag)}: cannot follow")
        if (hot > HOTTEST_C).any():
            self._stop(PROTECTIVE, f"{self._joint(hot)}: too hot")

    def _joint(self, by: np.ndarray) -> str:
        return f"joint '{self.physics.joints[int(np.argmax(by))]}'"

    def _stop(self, safety: int, cause: str) -> None:
        """A stop of the safety system: it stands where it is, an emergency stop without power."""
        self._stand()
        for joint, angle in enumerate(self.physics.position_rad):
            self.physics.set_goal(joint, float(angle))
        self.safety, self.cause = safety, cause
        if self.runtime is Runtime.PLAYING:
            self.runtime, self.ended = Runtime.PAUSED, cause
        if safety == EMERGENCY:
            self._switch(Power.POWER_OFF, cause)

    def _end(self, why: str) -> bool:
        """The program ends; says whether there was one."""
        self._stand()
        if self.runtime is Runtime.STOPPED:
            return False
        self.runtime, self.ended = Runtime.STOPPED, why
        return True

    def _temperature_c(self) -> np.ndarray:
        found = self.physics.temperature_c.copy()
        for joint, forced in self.forced_temperature_c.items():
            found[joint] = forced
        return found

    def _values(self) -> dict[str, Any]:
        """What RTDE tells."""
        physics = self.physics
        return {
            "timestamp": physics.data.time,
            "actual_q": physics.position_rad,
            "actual_qd": physics.velocity_radps,
            "target_q": physics.set_point_rad,
            "joint_temperatures": self._temperature_c(),
            "robot_mode": int(self.power),
            "safety_mode": _SAFETY_MODE[self.safety][0],
            "safety_status_bits": self.safety,
            "robot_status_bits": int(self.power is Power.RUNNING) | int(self.runtime is Runtime.PLAYING) << 1,
            "runtime_state": int(self.runtime),
            "output_int_register_0": self._told,
        }


_AT_ONCE: dict[int, Callable[[UrController], None]] = {9: UrController._speed_j, 11: UrController._servo}
_COMMANDS: dict[int, Callable[[UrController], bool]] = {
    1: UrController._move_j,
    15: UrController._stand,
    16: UrController._stand,
    34: UrController._stand,
    35: UrController._set_watchdog,
    31: lambda controller: controller._stop(PROTECTIVE, "asked for by the program") is None,
    255: lambda controller: controller._end("asked to stop"),
}
