"""The twin's process: `python -m robots.twin.serve '<json>'`; talks to its owner in JSON lines.

First line out: `{"pid", "connection"}`, the latter for the driver. In: `{"set": {wire fault: share}}`,
`{"cut": true}`, `{"stall": joint}`, `{"place": [rad, ...]}`, `{"advance_s": x}` (a clock that is moved by hand),
`{"state": true}`, and what this robot can be ordered, such as `{"overheat": [joint, deg C]}`; each is answered by one
line. It ends when its owner does.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from embodied.core.build import build
from embodied.core.errors import ConfigError, EmbodiedError, UnknownNameError
from robots.twin.foreign import ForeignTwin
from robots.twin.physics import ArmPhysics
from robots.twin.wire import Faults

TICK_S = 0.001


class Wire(Protocol):
    """The twin's end of what a driver connects to."""

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        ...

    @property
    def pending(self) -> bool:
        """Whether bytes wait to be read."""
        ...

    def serve(self, receive: Callable[..., Any], wait_s: float) -> None:
        """Waits up to `wait_s` for bytes, passes them to `receive`, sends what comes back."""
        ...

    def cut(self) -> None:
        """Pulls the cable."""
        ...

    def close(self) -> None:
        """Ends the line."""
        ...


@runtime_checkable
class TwinRobot(Protocol):
    """What stands behind a wire.

    Attributes:
        physics: of the arm.
    """

    physics: ArmPhysics

    @property
    def orders(self) -> Mapping[str, Callable[[Any], None]]:
        """What the owner can order besides what every twin knows, by word."""
        ...

    def open_wire(self, seed: int, log: Path | None) -> Wire:
        """What a driver connects to, with its faults' seed and its byte log."""
        ...

    def connection(self, wire: Any) -> dict[str, Any]:
        """What a driver must be told to connect, by the names of its arguments; a mapping becomes a file."""
        ...

    def receive(self, *arrived: Any) -> Any:
        """Takes what came over the wire, as the wire gives it; gives what goes back."""
        ...

    def tick(self) -> None:
        """Time has passed."""
        ...

    def status(self) -> dict[str, Any]:
        """What the owner is told besides the physics."""
        ...


class Twin:
    """One twin: a robot behind a wire.

    Args:
        robot: with its physics.
        wire: the line.
        manual: whether time moves only by `advance_s`.
    """

    def __init__(self, robot: TwinRobot, wire: Wire, manual: bool) -> None:
        self.robot, self.wire, self.manual = robot, wire, manual
        self._manual_s = 0.0
        self.robot.physics.advance_to(self.now_s)
        self._orders: dict[str, Callable[[Any], None]] = {
            "set": lambda faults: self.wire.faults.set(**faults),
            "cut": lambda _: self.wire.cut(),
            "stall": lambda joint: robot.physics.stalled.add(robot.physics.index(joint)),
            "place": robot.physics.place,
            "advance_s": self._advance,
            "state": lambda _: None,
            **robot.orders,
        }

    @property
    def now_s(self) -> float:
        """The twin's time [s]."""
        return self._manual_s if self.manual else time.monotonic()

    def serve(self, wait_s: float) -> None:
        """Once: physics up to now, then one exchange if there is one within `wait_s`."""
        self.robot.physics.advance_to(self.now_s)
        self.robot.tick()
        self.wire.serve(self._receive, wait_s)

    def _receive(self, *arrived: Any) -> Any:
        self.robot.physics.advance_to(self.now_s)
        return self.robot.receive(*arrived)

    def _advance(self, seconds: float) -> None:
        self._manual_s += float(seconds)
        self.robot.physics.advance_to(self._manual_s + 1e-9, most_s=float("inf"))
        self.robot.tick()

    def obey(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Commands of the owner; gives the state."""
        while self.wire.pending:  # what was written before the command counts before it
            self.serve(0.0)
        for word, given in command.items():
            if word not in self._orders:
                raise UnknownNameError("command", word, self._orders)
            self._orders[word](given)
        physics = self.robot.physics
        return {
            "t_s": self.now_s,
            "position_rad": physics.position_rad.tolist(),
            "velocity_radps": physics.velocity_radps.tolist(),
            "torque_on": physics.torque_on.tolist(),
            "goal_rad": physics._goals.tolist(),
            "tool_m": physics.tool_m.tolist(),
            **self.robot.status(),
        }


def main() -> int:
    """Serves until the owner's end of stdin closes."""
    config = json.loads(sys.argv[1])
    try:
        robot = build(config["twin"])
        if isinstance(robot, ForeignTwin):
            robot.become(config)
        if not isinstance(robot, TwinRobot):
            raise ConfigError(f"{config['twin'].get('_target_')} does not make a robot for a twin")
        wire = robot.open_wire(int(config.get("seed", 0)), Path(config["log"]) if config.get("log") else None)
        twin = Twin(robot, wire, bool(config.get("manual", False)))
    except EmbodiedError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 2
    if config.get("priority"):
        _real_time(int(config["priority"]))
    print(json.dumps({"pid": os.getpid(), "connection": robot.connection(wire)}), flush=True)
    return _loop(twin)


def _loop(twin: Twin) -> int:
    pending = b""
    while True:
        twin.serve(TICK_S)
        ready, _, _ = select.select([sys.stdin.fileno()], [], [], 0.0)
        if not ready:
            continue
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            twin.wire.close()
            return 0
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            try:
                answer = twin.obey(json.loads(line))
            except (EmbodiedError, TypeError, ValueError) as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)


def _real_time(priority: int) -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError):
        print("twin: no real-time priority on this machine", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
