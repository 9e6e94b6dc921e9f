"""Franka Research 3 through `pylibfranka` (extra `franka`), whose 1 kHz loop runs in a process of its own.

Traps of the SDK (0.21.3 against franka-sim 1.1.7, measured) and what is done:
- A command must come within each millisecond, continuous up to jerk; a jump of 0.5 rad is a reflex
  (`joint_motion_generator_velocity_discontinuity`). Targets pass through `robots.smooth`, at any rate.
- A client that is 10 ms late goes on, one that is 40 ms late is stopped (`communication_constraints_violation`): the
  loop is not this process, whose Python may be busy (`robots.franka_loop`).
- After a reflex nothing moves until its errors are cleared, which is never done unasked: `recover=true` lets `arm` do
  it.
- A frozen controller blocks the SDK for a second: alive is the age of the last state.
- An arm whose client has ended its motion holds itself: there is no torque to take off. There is no serial number to
  ask for either.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embodied.core.assets import sim_assets_dir
from embodied.core.clock import Clock, MonotonicClock
from embodied.core.errors import ConfigError, RobotError, RobotLostError
from embodied.core.robot import RobotState
from robots.franka_loop import MOVING, STOPPED, Board, Line, Shown

JOINTS = tuple(f"fr3_joint{i}" for i in range(1, 8))
# Data sheet [rad]: what the controller itself allows. The closer a joint is to its end, the slower it may be.
LOW_RAD = (-2.7501, -1.7918, -2.9065, -3.0481, -2.8101, 0.54092, -3.0196)
HIGH_RAD = (2.7501, 1.7918, 2.9065, -0.1458, 2.8101, 4.5205, 3.0196)
STALE_S = 0.05  # without a state
PRIORITY = 60  # of the loop, where permitted: above the daemon's
CONNECT_S, ORDER_S, ENDED_S = 15.0, 5.0, 3.0  # at most
SLOWEST_S = 0.05  # a target that comes later than this after another is not spread over longer


class FrankaArm:
    """One arm behind its controller.

    Args:
        name: kind of robot.
        host: network address of the controller, whose FCI is activated.
        recover: whether `arm` clears the errors of a reflex.
        clock: what stamps readings.
    """

    def __init__(self, name: str, host: str, *, recover: bool = False, clock: Clock | None = None) -> None:
        self.name, self.joints, self.host = name, JOINTS, host
        self.observation_features: Mapping[str, type] = {f"{joint}.pos": float for joint in JOINTS}
        self.action_features = self.observation_features
        self._recover, self._clock = recover, clock or MonotonicClock()
        self._process: subprocess.Popen[bytes] | None = None
        self._board: Board | None = None
        self._line: Line | None = None
        self._lost, self._stopped = "not connected: call connect() first", ""
        self._number, self._sent_s = 0, 0.0

    def connect(self) -> None:
        """Starts the loop, which opens the connection. Nothing moves.

        Raises:
            RobotLostError: nothing answers at this address.
            RobotError: the controller refuses: another client has it, or its FCI is off.
        """
        if importlib.util.find_spec("pylibfranka") is None:
            raise ConfigError("a Franka needs its SDK: pip install 'embodied-control[franka]'")
        memory = os.memfd_create("franka")
        os.ftruncate(memory, 4096)
        ours, theirs = socket.socketpair()
        config = {"host": self.host, "board": memory, "line": theirs.fileno(), "priority": PRIORITY}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "robots.franka_loop", json.dumps(config)],
            pass_fds=(memory, theirs.fileno()), stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for its owner
        )  # fmt: skip
        theirs.close()
        self._board, self._line = Board(memory), Line(ours)
        os.close(memory)
        answer = self._answer(CONNECT_S)
        if "connected" not in answer:
            self.disconnect()
            text = str(answer.get("refused", "it did not answer in time"))
            kind = RobotError if "refused" in answer and "onnect" not in text else RobotLostError
            raise kind(f"{self.name} at {self.host}: {text}. Is it on, its FCI active, and the address right?")
        self._lost, self._stopped = "", "not armed: call arm() first"

    def arm(self) -> RobotState:
        """Begins a motion that holds where it stands.

        Raises:
            RobotError: a reflex that `recover` does not clear, or the controller refuses.
        """
        if self._alive(forgive=True).phase == STOPPED:
            if not self._recover:
                raise RobotError(f"{self.name}: {self._reason()}. Look at the arm, then arm it with recover=true")
            self._order("recover", "recovered")
        if self._alive(forgive=True).phase != MOVING:
            self._order("arm", "armed")
        self._stopped = ""
        return self.observe()

    def observe(self) -> RobotState:
        """The newest reading, at most some milliseconds old.

        Raises:
            RobotError: the controller is silent, or has stopped the motion; says why.
            RobotLostError: the connection is gone.
        """
        shown = self._alive()
        age_s = time.monotonic() - shown.stamp_s
        return RobotState(self._clock.now_s() - age_s, shown.position, shown.velocity, shown.torque)

    def send(self, target_rad: Sequence[float]) -> tuple[float, ...]:
        """Targets `(J,)` [rad]; returns them inside the joints' ranges, as they were sent.

        Raises:
            RobotError: no number, a controller that is silent or has stopped the motion: nothing was sent.
            RobotLostError: the connection is gone.
        """
        if len(target_rad) != len(JOINTS):
            raise ConfigError(f"{self.name}: {len(target_rad)} targets for {len(JOINTS)} joints")
        wanted = [float(value) for value in target_rad]
        for joint, value in zip(JOINTS, wanted, strict=True):
            if not math.isfinite(value):
                raise RobotError(f"joint '{joint}': target {value} is no number; nothing was sent")
        self._alive()
        if self._stopped:
            raise RobotError(f"{self.name}: {self._stopped}; nothing was sent")
        sent = tuple(min(max(v, low), high) for v, low, high in zip(wanted, LOW_RAD, HIGH_RAD, strict=True))
        now_s, self._number = time.monotonic(), self._number + 1
        assert self._board is not None
        self._board.aim(sent, min(now_s - self._sent_s, SLOWEST_S), self._number)
        self._sent_s = now_s
        return sent

    def release(self) -> None:
        """Brakes and ends the motion: the arm holds itself."""
        if self._alive(forgive=True).phase == MOVING:
            self._order("release", "released")
        self._stopped = self._stopped or "released: call arm() first"

    def disconnect(self) -> None:
        """Closes the connection; a motion is braked and ended first. Never raises, may be called twice."""
        self._lost = self._lost or "disconnected: call connect() first"
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDED_S)
            self._process.kill()
            self._process.wait()
        if self._board is not None:
            self._board.close()
        self._line = self._process = self._board = None

    def statistics(self) -> dict[str, float]:
        """Of the motion: `cycles`, how many were `missed`, and the controller's own `success` rate."""
        shown = self._alive(forgive=True)
        return {"cycles": shown.cycles, "missed": shown.missed, "success": shown.success}

    def _alive(self, *, forgive: bool = False) -> Shown:
        """The newest state of a controller that talks; `forgive` also while it has stopped the motion."""
        if self._lost:
            raise RobotLostError(f"{self.name}: {self._lost}")
        assert self._line is not None
        assert self._board is not None
        while (message := self._line.heard()) is not None:
            self._hear(message)
        if self._line.gone and not self._lost:
            self._lost = f"connection to {self.host} is gone: its loop has ended"
        if self._lost:
            raise RobotLostError(f"{self.name}: {self._lost}")
        shown = self._board.shown()
        silent_s = time.monotonic() - shown.stamp_s
        if silent_s > STALE_S:
            self._stop(f"the controller at {self.host} is silent since {silent_s:.3f} s. Arm it again")
        if shown.phase == STOPPED and not forgive:
            self._stop(self._reason())
        return shown

    def _reason(self) -> str:
        """Why the controller stands."""
        told = self._stopped.startswith("the controller")
        return self._stopped if told else "the controller is in a reflex, or its user has stopped it"

    def _hear(self, message: Mapping[str, Any]) -> None:
        if "lost" in message:
            self._lost = f"connection to {self.host} is gone: {message['lost']}"
        elif "stopped" in message:
            self._stopped = f"the controller has stopped the motion: {message['stopped']}"

    def _stop(self, why: str) -> None:
        """Nothing is sent any more until a person arms it again."""
        self._stopped = self._stopped or why
        raise RobotError(f"{self.name}: {why}")

    def _order(self, order: str, done: str) -> None:
        assert self._line is not None
        self._line.tell(order=order)
        answer = self._answer(ORDER_S)
        if done in answer:
            return
        self._hear(answer)
        if self._lost:
            raise RobotLostError(f"{self.name}: {self._lost}")
        why = answer.get("refused") or answer.get("stopped") or f"no answer in {ORDER_S:g} s"
        raise RobotError(f"{self.name} at {self.host} does not {order}: {why}")

    def _answer(self, most_s: float) -> dict[str, Any]:
        assert self._line is not None
        return self._line.heard(most_s) or {}


def fr3(host: str, recover: bool = False, clock: Clock | None = None) -> FrankaArm:
    """A Franka Research 3 at an address.

    Args:
        host: network address of its controller, or the one that a twin prints.
        recover: whether arming clears the errors of a reflex.
        clock: what stamps readings.
    """
    return FrankaArm("fr3", host, recover=recover, clock=clock)


def fr3_twin(model: str = "robots/fr3.xml", python: str | None = None):
    """The public `franka-sim` server in its own environment, with our model of the arm.

    Args:
        model: MJCF, relative to `sim_assets/`.
        python: of that environment; None takes `$FRANKA_SIM_PYTHON`, else `.venv-franka` of the present folder.
    """
    from robots.twin.foreign import ForeignTwin

    found = python or os.environ.get("FRANKA_SIM_PYTHON") or str(Path(".venv-franka/bin/python").absolute())
    if not Path(found).exists():
        raise ConfigError(
            f"no franka-sim at {found}: make franka-twin, or python -m venv V && V/bin/pip install franka-sim==1.1.7"
            " and FRANKA_SIM_PYTHON=V/bin/python"
        )
    script = Path(__file__).parent / "twin" / "franka_server.py"
    return ForeignTwin((found, str(script)), {"model": str(sim_assets_dir() / model)})
