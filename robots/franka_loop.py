"""The 1 kHz loop of a Franka in a process of its own: `python -m robots.franka_loop '<json>'`.

libfranka wants a command within each millisecond. So it alone is served here: its owner (`robots.franka`) puts targets
into shared memory at any rate and reads the newest state there; a socket carries orders (`arm`, `recover`, `release`)
and what became of them, JSON lines. When the owner dies, the arm brakes and the motion is finished in order.
"""

from __future__ import annotations

import contextlib
import gc
import json
import mmap
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robots.smooth import SmoothStream

# Data sheet of the Franka Research 3: joint speeds [rad/s], acceleration [rad/s2]; jerk 5,000 rad/s3.
MAX_SPEED_RADPS = (2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26)
MAX_ACCELERATION_RADPS2 = 10.0
SHARE = 0.8  # of speed and acceleration that the stream uses
STIFFNESS = (3000.0, 3000.0, 3000.0, 2500.0, 2500.0, 2000.0, 2000.0)  # Nm/rad, as in Franka's own examples
COLLISION_NM, COLLISION_N = (20.0, 20.0, 18.0, 18.0, 16.0, 14.0, 12.0), (20.0,) * 6  # likewise
IDLE, MOVING, STOPPED = 0, 1, 2
_STATE, _TARGET = struct.Struct("<2d7d7d7ddiQQ"), struct.Struct("<d7dQ")
_SIZE, _SECOND = 4096, 2048


@dataclass(frozen=True)
class Shown:
    """What the loop last saw.

    Attributes:
        stamp_s: when, monotonic clock [s].
        robot_s: the robot's own time [s].
        position: `(7,)` [rad].
        velocity: `(7,)` [rad/s].
        torque: `(7,)` [Nm].
        success: share of the last commands that came in time, as the robot counts it.
        phase: `IDLE`, `MOVING` or `STOPPED`.
        cycles: of the motion so far.
        missed: of those that were lost.
    """

    stamp_s: float
    robot_s: float
    position: tuple[float, ...]
    velocity: tuple[float, ...]
    torque: tuple[float, ...]
    success: float
    phase: int
    cycles: int
    missed: int


class Board:
    """Two pages of shared memory, each written by one side: the state and the target.

    A page begins with a count that is odd while it is being written, so that a reader sees whole pages alone.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _SIZE)

    def show(self, state: Shown) -> None:
        """Writes the state."""
        data = _STATE.pack(
            state.stamp_s, state.robot_s, *state.position, *state.velocity, *state.torque, state.success,
            state.phase, state.cycles, state.missed,
        )  # fmt: skip
        self._write(0, data)

    def shown(self) -> Shown:
        """The newest state."""
        v = _STATE.unpack(self._read(0, _STATE.size))
        return Shown(v[0], v[1], v[2:9], v[9:16], v[16:23], *v[23:])

    def aim(self, target_rad: Sequence[float], over_s: float, number: int) -> None:
        """Writes the target, with the time to reach it and a number that tells it from the one before."""
        self._write(_SECOND, _TARGET.pack(over_s, *target_rad, number))

    def aimed(self) -> tuple[tuple[float, ...], float, int]:
        """The newest target."""
        v = _TARGET.unpack(self._read(_SECOND, _TARGET.size))
        return v[1:8], v[0], v[8]

    def close(self) -> None:
        """Gives the memory back."""
        self._memory.close()

    def _write(self, at: int, data: bytes) -> None:
        count = struct.unpack_from("<Q", self._memory, at)[0]
        struct.pack_into("<Q", self._memory, at, count + 1)
        self._memory[at + 8 : at + 8 + len(data)] = data
        struct.pack_into("<Q", self._memory, at, count + 2)

    def _read(self, at: int, size: int) -> bytes:
        while True:
            before = struct.unpack_from("<Q", self._memory, at)[0]
            data = self._memory[at + 8 : at + 8 + size]
            if before % 2 == 0 and struct.unpack_from("<Q", self._memory, at)[0] == before:
                return data
            time.sleep(0)  # the other side may have been interrupted on this very core


class Line:
    """JSON lines over a socket, without ever waiting to read.

    Attributes:
        gone: whether the other side has ended.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end, self._rest, self._lines, self.gone = end, b"", [], False

    def tell(self, **message: Any) -> None:
        """Sends one message; to nobody if the other side has ended."""
        try:
            self._end.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.gone = True

    def heard(self, wait_s: float = 0.0) -> dict[str, Any] | None:
        """The next message that came within `wait_s`."""
        if not self._lines and not self.gone and select.select([self._end], [], [], wait_s)[0]:
            try:
                data = self._end.recv(65536)
            except OSError:
                data = b""
            self.gone = not data
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._lines += lines
        return json.loads(self._lines.pop(0)) if self._lines else None

    def close(self) -> None:
        """Ends this side."""
        self._end.close()


class Loop:
    """One robot, one owner.

    Args:
        robot: of pylibfranka, connected.
        sdk: pylibfranka itself.
        board: shared with the owner.
        line: to the owner.
    """

    def __init__(self, robot: Any, sdk: Any, board: Board, line: Line) -> None:
        self._robot, self._sdk, self._board, self._line = robot, sdk, board, line
        self._phase, self._cycles, self._missed = IDLE, 0, 0

    def run(self) -> None:
        """Shows states and obeys until the owner has gone, or the robot."""
        try:
            self._show(self._robot.read_once())
            self._line.tell(connected=True)
            while not self._line.gone:
                self._show(self._robot.read_once())
                order = self._line.heard()
                if order is not None:
                    self._obey(order["order"])
        except (self._sdk.FrankaException, RuntimeError) as error:  # what its network library throws is a RuntimeError
            self._line.tell(lost=str(error))

    def _obey(self, order: str) -> None:
        if order == "arm":
            self._drive()
        elif order == "recover":
            self._clear()
        else:
            self._line.tell(released=True)  # no motion to end

    def _clear(self) -> None:
        """Clears the errors of a reflex, if there was one."""
        try:
            if self._robot.read_once().robot_mode == self._sdk.RobotMode.Reflex:
                self._robot.automatic_error_recovery()
            self._phase = IDLE
            self._show(self._robot.read_once())
        except (self._sdk.CommandException, self._sdk.ControlException) as error:
            self._line.tell(refused=str(error))
        else:
            self._line.tell(recovered=True)

    def _drive(self) -> None:
        """One motion, from `arm` to its end."""
        self._cycles = self._missed = 0
        try:
            control = self._robot.start_joint_position_control(self._sdk.ControllerMode.JointImpedance)
            state, passed = control.readOnce()
            self._phase = MOVING
            self._show(state)
            self._line.tell(armed=True)
            self._stream(control, state, passed)
            self._phase = IDLE
            self._show(self._robot.read_once())
            self._line.tell(released=True)
        except (self._sdk.CommandException, self._sdk.ControlException) as error:
            self._phase = STOPPED
            self._line.tell(stopped=str(error))

    def _stream(self, control: Any, state: Any, passed: Any) -> None:
        speeds = [SHARE * speed for speed in MAX_SPEED_RADPS]
        stream = SmoothStream(state.q_d, speeds, SHARE * MAX_ACCELERATION_RADPS2)
        known, ending = self._board.aimed()[2], False
        while True:
            self._show(state)
            order = self._line.heard()
            if not ending and (self._line.gone or (order is not None and order["order"] == "release")):
                ending = True
                stream.brake()
            target, over_s, number = self._board.aimed()
            if number != known and not ending:
                known = number
                stream.aim(target, over_s)
            cycles = max(1, round(1000.0 * passed.to_sec()))  # more than one where commands were lost
            self._cycles, self._missed = self._cycles + cycles, self._missed + cycles - 1
            commands = [stream.step() for _ in range(cycles)]
            message = self._sdk.JointPositions(commands[-1])
            message.motion_finished = ending and stream.still
            control.writeOnce(message)
            if message.motion_finished:
                return
            state, passed = control.readOnce()

    def _show(self, state: Any) -> None:
        stopped = state.robot_mode in (self._sdk.RobotMode.Reflex, self._sdk.RobotMode.UserStopped)
        shown = Shown(
            time.monotonic(), state.time.to_sec(), tuple(state.q), tuple(state.dq), tuple(state.tau_J),
            state.control_command_success_rate, STOPPED if stopped else self._phase, self._cycles, self._missed,
        )  # fmt: skip
        self._board.show(shown)


def main() -> int:
    """Serves one owner."""
    config = json.loads(sys.argv[1])
    board, line = Board(config["board"]), Line(socket.socket(fileno=config["line"]))
    import pylibfranka as sdk

    mode = sdk.RealtimeConfig.kEnforce if _real_time_kernel() else sdk.RealtimeConfig.kIgnore
    try:
        robot = sdk.Robot(config["host"], mode)
        robot.set_collision_behavior(COLLISION_NM, COLLISION_NM, COLLISION_N, COLLISION_N)
        robot.set_joint_impedance(STIFFNESS)
    except (sdk.FrankaException, RuntimeError) as error:
        line.tell(refused=str(error))
        return 2
    gc.collect()
    gc.freeze()
    gc.disable()
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(int(config["priority"])))
    Loop(robot, sdk, board, line).run()
    return 0


def _real_time_kernel() -> bool:
    """Whether this is a PREEMPT_RT kernel, as libfranka's `kEnforce` demands."""
    with contextlib.suppress(OSError), open("/sys/kernel/realtime", encoding="ascii") as file:
        return file.read().strip() == "1"
    return False


if __name__ == "__main__":
    sys.exit(main())
