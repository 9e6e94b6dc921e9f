"""The twin's process: `python -m robots.twin.serve '<json>'`; talks to its owner in JSON lines.

First line out: `{"port", "pid", "calibration"}`. In: `{"set": {wire fault: share}}`, `{"cut": true}`,
`{"overheat": [joint, deg C]}`, `{"overload": joint}`, `{"stall": joint}`, `{"place": [rad, ...]}`,
`{"advance_s": x}` (a clock that is moved by hand),
`{"state": true}`; each is answered by one line. It ends when its owner does.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embodied.core.build import build
from embodied.core.errors import ConfigError, EmbodiedError, UnknownNameError
from robots.twin.wire import PtyWire

TICK_S = 0.001


class SerialTwin:
    """One twin: servos behind a wire.

    Args:
        servos: with their physics.
        wire: the line.
        manual: whether time moves only by `advance_s`.
    """

    def __init__(self, servos: Any, wire: PtyWire, manual: bool) -> None:
        self.servos, self.wire, self.manual = servos, wire, manual
        self._manual_s = 0.0
        self.servos.physics.advance_to(self.now_s)

    @property
    def now_s(self) -> float:
        """The twin's time [s]."""
        return self._manual_s if self.manual else time.monotonic()

    def serve(self, wait_s: float) -> None:
        """Once: physics up to now, then one exchange if there is one within `wait_s`."""
        self.servos.physics.advance_to(self.now_s)
        self.servos.tick()
        self.wire.serve(self._receive, time.monotonic(), wait_s)

    def _receive(self, data: bytes) -> bytes:
        self.servos.physics.advance_to(self.now_s)
        return self.servos.receive(data)

    def obey(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """One command of the owner; gives the state."""
        physics = self.servos.physics
        while self.wire.pending:  # what was written before the command counts before it
            self.serve(0.0)
        for word, given in command.items():
            if word == "set":
                self.wire.faults.set(**given)
            elif word == "cut":
                self.wire.cut()
            elif word == "overheat":
                self.servos.forced_temperature_c[self._motor(given[0])] = float(given[1])
            elif word == "overload":
                self.servos.overload(self._motor(given), on=True)
            elif word == "stall":
                physics.stalled.add(self._joint(given))
            elif word == "place":
                physics.place(given)
            elif word == "advance_s":
                self._manual_s += float(given)
                physics.advance_to(self._manual_s + 1e-9, most_s=float("inf"))
                self.servos.tick()
            elif word != "state":
                raise UnknownNameError(
                    "command", word, ("set", "cut", "overheat", "overload", "stall", "place", "advance_s", "state")
                )
        return {
            "t_s": self.now_s,
            "position_rad": physics.position_rad.tolist(),
            "velocity_radps": physics.velocity_radps.tolist(),
            "torque_on": physics.torque_on.tolist(),
            "goal_rad": physics._goals.tolist(),
            "tool_m": physics.tool_m.tolist(),
        }

    def _joint(self, name: str) -> int:
        if name not in self.servos.physics.joints:
            raise UnknownNameError("joint", name, self.servos.physics.joints)
        return self.servos.physics.joints.index(name)

    def _motor(self, name: str) -> int:
        index = self._joint(name)
        return next(motor for motor, i in self.servos.motors.items() if i == index)


def main() -> int:
    """Serves until the owner's end of stdin closes."""
    config = json.loads(sys.argv[1])
    try:
        wire = PtyWire(seed=int(config.get("seed", 0)), log=Path(config["log"]) if config.get("log") else None)
        servos = build(config["twin"])
        if not all(hasattr(servos, part) for part in ("receive", "tick", "physics", "motors", "burnt")):
            raise ConfigError(f"{config['twin'].get('_target_')} does not make the servos of a serial twin")
        twin = SerialTwin(servos, wire, bool(config.get("manual", False)))
    except EmbodiedError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 2
    if config.get("priority"):
        _real_time(int(config["priority"]))
    print(json.dumps({"port": wire.port, "pid": os.getpid(), "calibration": servos.burnt()}), flush=True)
    return _loop(twin)


def _loop(twin: SerialTwin) -> int:
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
