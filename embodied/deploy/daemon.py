"""The driver daemon: the process that owns the robot's bus and runs the control loop, and nothing else.

Messages are plain tuples of plain values over pipes made by the supervisor. From it: `("follow", step_s)`,
`("hold",)`, `("go_to", pose)`, `("park",)`, `("release",)`, `("reset", who)`, `("fault", why)`, `("stop",)`. To it:
`("armed", state)`, `("status", {...})`, `("lost", why)`, `("error", why)`, `("ended",)`. To the policy: `("reading", n,
state, last command)`; from it: chunks. When the supervisor's end closes, the daemon parks by itself and ends.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Mapping
from dataclasses import astuple
from multiprocessing.connection import Connection
from typing import Any

from embodied.core.build import build
from embodied.core.clock import MonotonicClock
from embodied.core.errors import EmbodiedError, RobotLostError
from embodied.core.robot import Robot, RobotState
from embodied.deploy.chunks import QUICK_S, ChunkStream, make_chunk
from embodied.deploy.loop import ControlLoop, Cycle, Motion
from embodied.deploy.pacer import Pacer
from embodied.safety.envelope import Envelope
from embodied.safety.faults import FaultMachine, Mode
from embodied.safety.gate import Gate

STATUS_EVERY = 5  # control periods


def make_loop(config: Mapping[str, Any], robot: Robot, clock: Any) -> ControlLoop:
    """The control loop of a deployment's configuration around a connected robot.

    Args:
        config: keys `safety`, `model`, `tool`, `rate_hz`, `motion`, `fault`, `blend_s` (see `conf/deploy.yaml`).
        robot: connected.
        clock: monotonic.
    """
    import mujoco

    from embodied.core.assets import sim_assets_dir
    from embodied.deploy.kinematics import RobotModel

    envelope: Envelope = build(config["safety"])
    model = RobotModel(
        mujoco.MjModel.from_xml_path(str(sim_assets_dir() / config["model"])), robot.joints, config["tool"]
    )
    gate = Gate(
        envelope,
        1.0 / float(config["rate_hz"]),
        tool_position=model.tool_position,
        self_collides=model.self_collides,
    )
    motion = Motion(**{**config["motion"], "park_rad": tuple(config["motion"]["park_rad"])})
    stream = ChunkStream(len(robot.joints), max_age_s=envelope.max_action_age_s, blend_s=float(config["blend_s"]))
    return ControlLoop(robot, gate, FaultMachine(**config["fault"]), stream, motion, clock)


def run_daemon(config: Mapping[str, Any], supervisor: Connection, policy: Connection) -> None:
    """The process's main function."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the supervisor's to answer; without it the daemon parks by itself
        signal.signal(number, signal.SIG_IGN)
    clock, real_time = MonotonicClock(), _real_time(int(config["priority"]))  # an SDK's threads take it on from here
    try:
        robot: Robot = build(config["driver"], **config["connection"])
        robot.connect()
    except EmbodiedError as error:
        supervisor.send(("error", str(error)))
        return
    try:
        loop = make_loop(config, robot, clock)
        supervisor.send(("armed", astuple(loop.arm()), real_time))
        _Daemon(config, loop, supervisor, policy).run()
    except RobotLostError as error:
        _tell(supervisor, ("lost", str(error)))
    except EmbodiedError as error:
        _tell(supervisor, ("error", str(error)))
    finally:
        robot.disconnect()
        _tell(supervisor, ("ended",))


class _Daemon:
    def __init__(self, config: Mapping[str, Any], loop: ControlLoop, supervisor: Connection, policy: Connection):
        self.loop, self.supervisor, self.policy = loop, supervisor, policy
        self._clock = MonotonicClock()
        self.pacer = Pacer(float(config["rate_hz"]), self._clock)
        self._step_s, self._next_reading_s, self._readings = 0.0, 0.0, 0
        self._rows: list[tuple[Any, ...]] = []
        self._policy_gone = self._supervisor_gone = False
        self._running = True

    def run(self) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()
        while self._running:
            self.pacer.wait()
            cycle = self.loop.cycle(self._serve_policy)
            self._note(cycle)
            self._obey()
            if self._supervisor_gone and self.loop.machine.mode is Mode.PARKED:
                self.loop.machine.release(cycle.now_s)
                self.loop.robot.release()
                self._running = False

    def _serve_policy(self, state: RobotState, now_s: float) -> None:
        """Gives the policy its reading; takes its chunks, this one's too if it comes within `QUICK_S`."""
        if self._policy_gone:
            return
        try:
            wait_s = 0.0
            if self._step_s and now_s >= self._next_reading_s - 0.5 * self.pacer.dt_s:
                self._next_reading_s = max(self._next_reading_s + self._step_s, now_s)
                self._readings += 1
                self.policy.send(("reading", self._readings, astuple(state), self.loop.gate.last_command))
                wait_s = QUICK_S
            while self.policy.poll(wait_s):
                number, observed_s, step_s, targets, start = self.policy.recv()
                chunk = make_chunk(number, observed_s, step_s, targets, start)
                self.loop.stream.offer(chunk, self._clock.now_s(), self.loop.gate.last_command or start)
                wait_s = 0.0
        except (EOFError, OSError):
            self._policy_gone = True
            if self._step_s:
                self.loop.machine.fault("the policy process has ended", now_s)

    def _note(self, cycle: Cycle) -> None:
        self._rows.append((cycle.now_s, cycle.state.position_rad, cycle.wanted, cycle.sent, str(cycle.verdict)))
        if len(self._rows) < STATUS_EVERY:
            return
        status = {
            "now_s": cycle.now_s,
            "state": astuple(cycle.state),
            "mode": str(cycle.mode),
            "reasons": cycle.reasons,
            "at_pose": self.loop.at_pose,
            "verdicts": {str(k): v for k, v in self.loop.gate.counts.items()},
            "refused": dict(self.loop.stream.refused),
            "read_faults": self.loop.read_faults,
            "pacer": self.pacer.summary(),
            "rows": self._rows,
        }
        self._rows = []
        if not _tell(self.supervisor, ("status", status)):
            self._orphaned(cycle.now_s)

    def _obey(self) -> None:
        now_s = self._clock.now_s()
        try:
            while not self._supervisor_gone and self.supervisor.poll():
                self._do(*self.supervisor.recv())
        except (EOFError, OSError):
            self._orphaned(now_s)
        except EmbodiedError as error:
            _tell(self.supervisor, ("error", str(error)))

    def _do(self, word: str, *given: Any) -> None:
        loop, now_s = self.loop, self._clock.now_s()
        if word == "follow":
            self._step_s, self._next_reading_s = float(given[0]), now_s
            loop.follow(True)
        elif word == "hold":
            self._step_s = 0.0
            loop.follow(False)
        elif word == "go_to":
            self._step_s = 0.0
            loop.go_to(given[0])
        elif word == "park":
            self._step_s = 0.0
            loop.follow(False)
            loop.machine.park(now_s)
        elif word == "release":
            loop.machine.release(now_s)
            loop.robot.release()
        elif word == "reset":
            loop.reset(given[0])
        elif word == "fault":
            self._step_s = 0.0
            loop.machine.fault(given[0], now_s)
        elif word == "stop":
            self._running = False

    def _orphaned(self, now_s: float) -> None:
        """The supervisor has gone: park alone."""
        if not self._supervisor_gone:
            self._supervisor_gone, self._step_s = True, 0.0
            self.loop.follow(False)
            self.loop.machine.fault("the supervisor has gone", now_s)
            if self.loop.machine.mode is Mode.HOLD:
                self.loop.machine.park(now_s)


def _tell(to: Connection, message: tuple[Any, ...]) -> bool:
    try:
        to.send(message)
    except OSError:
        return False
    return True


def _real_time(priority: int) -> bool:
    """Takes a real-time priority where the machine permits it."""
    if priority <= 0:
        return False
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError):
        return False
    return True
