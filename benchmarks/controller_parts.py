"""Parts of `robots.py` for arms behind a controller of their own: a UR5e and a Franka Research 3, on their twins."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from robot_parts import row
from tabletop import Row

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.errors import RobotError
from embodied.deploy.opening import start_twin

SPEED_RADPS = 0.3
CLIENT = f"""
import json, os, sys, time
from embodied.core.build import build
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(45))
arm = build(json.loads(sys.argv[1]), **json.loads(sys.argv[2]))
arm.connect()
start, began = arm.arm().position_rad, time.monotonic()
while True:
    arm.send([start[0] + {SPEED_RADPS} * (time.monotonic() - began), *start[1:]])
    print("moving", flush=True)
    time.sleep(0.01)
"""


@contextmanager
def twinned(name: str) -> Iterator[tuple[dict[str, Any], dict[str, str], Any]]:
    """A robot's driver configuration, its connection and its twin in real time."""
    config = yaml.safe_load((conf_dir() / "robot" / f"{name}.yaml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        connection, twin = start_twin(config, Path(folder), manual=False, priority=45)
        with twin:
            twin.place(config["home_rad"])
            yield config["driver"], connection, twin


def seen_after(name: str, harm: Callable[[Any], None], repeats: int) -> list[float]:
    """How long after a harm the driver says so [ms], each on a twin of its own, with real-time priority."""
    found = []
    for _ in range(repeats):
        with twinned(name) as (driver, connection, twin), _prioritised():  # before the SDK's threads begin
            arm = build(driver, **connection)
            arm.connect()
            hold = arm.arm().position_rad
            for _ in range(20):
                arm.send(hold)
                time.sleep(0.008)
            harm(twin)
            began = time.monotonic()
            while time.monotonic() < began + 2.0:
                try:
                    arm.observe()
                    arm.send(hold)
                except RobotError:
                    break
                time.sleep(0.001)
            found.append(1e3 * (time.monotonic() - began))
            twin.thaw()
            arm.disconnect()
    return found


def moved_after_kill(name: str, repeats: int) -> list[float]:
    """How far the first joint goes after its client was killed at 0.3 rad/s [rad]."""
    found = []
    for _ in range(repeats):
        with twinned(name) as (driver, connection, twin):
            words = [sys.executable, "-c", CLIENT, json.dumps(driver), json.dumps(connection)]
            client = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            assert client.stdout is not None
            for _ in range(60):
                client.stdout.readline()
            client.send_signal(signal.SIGKILL)
            at = twin.state()["position_rad"][0]
            client.wait()
            time.sleep(1.0)
            found.append(abs(twin.state()["position_rad"][0] - at))
    return found


def ur5e(quick: bool) -> list[Row]:
    """A UR5e: its controller frozen, its cable cut, its client killed."""
    return _common("ur5e", 2 if quick else 20)


def fr3(quick: bool) -> list[Row]:
    """A Franka: the same, a loop that stands still, and its rhythm at 1 kHz."""
    rows = _common("fr3", 2 if quick else 20)
    for stall_s, wanted in ((0.01, False), (0.04, True)):
        stopped = [_stalled(stall_s) for _ in range(2 if quick else 20)]
        share = sum("communication_constraints_violation" in text for text in stopped) / len(stopped)
        name = f"fr3: stopped for a loop that stands {1e3 * stall_s:.0f} ms, by its name"
        rows.append(row(name, share, float(wanted), "at least" if wanted else "at most"))
    seconds = 5.0 if quick else 60.0
    with twinned("fr3") as (driver, connection, _):
        arm = build(driver, **connection)
        arm.connect()
        start = list(arm.arm().position_rad)
        before, began, lowest = arm.statistics(), time.monotonic(), 1.0
        try:
            while (t := time.monotonic() - began) < seconds:
                arm.send([start[0] + 0.3 * min(1.0, t) * math.sin(1.5 * t), *start[1:]])
                lowest = min(lowest, arm.statistics()["success"]) if t > 1.0 else lowest
                time.sleep(0.01)
        except RobotError:  # a reflex, as a machine that is too busy ends in: it shows in how long it ran
            pass
        ran_s, after = time.monotonic() - began, arm.statistics()
        arm.release()
        arm.disconnect()
    cycles, missed = after["cycles"] - before["cycles"], after["missed"] - before["missed"]
    rows.append(row("fr3, 1 kHz: seconds without a reflex", ran_s, seconds, "at least"))
    rows.append(row("fr3, 1 kHz: cycles a second", cycles / ran_s, None, "at least"))
    rows.append(row("fr3, 1 kHz: lost cycles", missed / cycles, 0.001, cycles=cycles))
    rows.append(row("fr3, 1 kHz: the controller's success rate, lowest", lowest, 0.9, "at least"))
    return rows


def _common(name: str, repeats: int) -> list[Row]:
    frozen = seen_after(name, lambda twin: twin.freeze(), repeats)
    cut = seen_after(name, lambda twin: twin.tell(cut=True), repeats)
    moved = moved_after_kill(name, max(2, repeats // 2))
    return [
        row(f"{name}: frozen controller: seen after [ms], worst", max(frozen), 100.0, all=frozen),
        row(f"{name}: cable pulled: seen after [ms], worst", max(cut), 100.0, all=cut),
        row(f"{name}: client killed at 0.3 rad/s: joint 1 goes on [rad], worst", max(moved), 0.02, all=moved),
    ]


def _stalled(stall_s: float) -> str:
    """What the driver says after its loop's process stood still."""
    with twinned("fr3") as (driver, connection, _):
        arm = build(driver, **connection)
        arm.connect()
        arm.arm()
        time.sleep(0.3)
        os.kill(arm._process.pid, signal.SIGSTOP)
        with _prioritised():
            time.sleep(stall_s)
        os.kill(arm._process.pid, signal.SIGCONT)
        said, until = "", time.monotonic() + 0.5
        while time.monotonic() < until and not said:
            time.sleep(0.01)
            try:
                arm.observe()
            except RobotError as error:
                said = str(error)
        arm.disconnect()
    return said


@contextmanager
def _prioritised() -> Iterator[None]:
    """Real-time priority of this process, as a driver daemon has it."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(45))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
