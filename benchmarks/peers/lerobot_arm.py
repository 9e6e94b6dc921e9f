"""LeRobot's own SO-101 class on a serial line, in its own environment; JSON lines in and out.

    LEROBOT/bin/python lerobot_arm.py <port> <calibration file>

In: `{"cycles": n}`, `{"send": value}`, `{"observe": true}`, `{"connected": true}`, `{"disconnect": true}`. Every answer
holds `error` where the class raised. Its environment: lerobot 0.4.4 and feetech-servo-sdk 1.0.0 without dependencies,
and what an import then asks for; torchvision is replaced by an empty module.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock


class _Nothing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """An empty torchvision: LeRobot imports it for datasets, which are not used here."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.split(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        module = MagicMock()
        module.__spec__, module.__path__, module.__name__ = spec, [], spec.name
        return module

    def exec_module(self, module: Any) -> None:
        return None


def main() -> None:
    sys.meta_path.insert(0, _Nothing())
    from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig

    folder = Path(tempfile.mkdtemp())
    shutil.copy(sys.argv[2], folder / "twin.json")
    config = SO101FollowerConfig(port=sys.argv[1], id="twin", calibration_dir=folder, use_degrees=True)
    arm = SO101Follower(config)
    say(attempt(lambda: arm.connect(calibrate=False)))
    home: dict[str, float] = {}
    for line in sys.stdin:
        command = json.loads(line)
        if "cycles" in command:
            say(attempt(lambda n=command["cycles"]: cycles(arm, n)))
        elif "send" in command:
            home = home or arm.get_observation()
            action = {**home, "shoulder_pan.pos": float(command["send"])}
            say(attempt(lambda a=action: arm.send_action(a)))
        elif "observe" in command:
            say(attempt(arm.get_observation))
        elif "connected" in command:
            say({"connected": bool(arm.is_connected)})
        elif "disconnect" in command:
            say(attempt(arm.disconnect))


def cycles(arm: Any, n: int) -> dict[str, float]:
    """Observation and action, n times."""
    hold = {k: v for k, v in arm.get_observation().items() if k.endswith(".pos")}
    lateness, began = [], time.perf_counter()
    for _ in range(n):
        begin = time.perf_counter()
        arm.get_observation()
        arm.send_action(hold)
        lateness.append(time.perf_counter() - begin)
    lateness.sort()
    return {"hz": n / (time.perf_counter() - began), "p99_ms": 1e3 * lateness[int(0.99 * n)]}


def attempt(call: Any) -> dict[str, Any]:
    """What a call gives, or how it failed."""
    try:
        answer = call()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    return {"answer": {k: float(v) for k, v in answer.items()} if isinstance(answer, dict) else None}


def say(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
