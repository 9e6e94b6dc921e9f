"""Parts of `robots.py` that need a process of their own: the control loop's soak, and LeRobot's class on our twin."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from arms import HOME, robot_config, safety_config
from tabletop import Row

from embodied.core.clock import MonotonicClock
from embodied.deploy.daemon import make_loop
from embodied.deploy.opening import start_twin
from embodied.deploy.pacer import Pacer
from robots.so101 import so101

RATES_HZ = (50, 100, 200, 500)


def row(name: str, ours: float, target: float | None, target_is: str = "at most", **more: Any) -> Row:
    ok = None if target is None else bool(ours <= target if target_is == "at most" else ours >= target)
    nothing = {"peer": None, "peer_name": "-", "ratio": None}
    return Row({"name": name, "ours": ours, "target": target, "target_is": target_is, "ok": ok, **nothing, **more})


def connected(folder: Path, **given: Any) -> tuple[Any, Any]:
    """`(arm, twin)` in real time, armed and at rest."""
    config = robot_config()
    connection, twin = start_twin({**config, **given}, folder, manual=False, priority=45)
    arm = so101(connection["port"], connection["calibration"])
    arm.connect()
    arm.arm()
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        arm.observe()
    return arm, twin


def soak(quick: bool) -> list[Row]:
    """The control loop at several rates, in a process of its own with real-time priority where permitted."""
    seconds, rows = (5.0 if quick else 60.0), []
    for rate in RATES_HZ:
        found = _soaked(rate, seconds, priority=45, hogs=0)
        rows.append(row(f"{rate} Hz: period p99 over nominal", found["period_p99"], 1.1, **found))
        rows.append(row(f"{rate} Hz: missed periods", found["missed"] / found["cycles"], 0.001))
        rows.append(row(f"{rate} Hz: memory grows by [MB]", found["grew_mb"], 5.0, files=found["files"]))
    for priority, name in ((45, "real-time priority"), (0, "normal priority")):
        found = _soaked(100, min(seconds, 20.0), priority=priority, hogs=os.cpu_count() or 1)
        target = 0.001 if priority else None
        rows.append(row(f"100 Hz beside CPU hogs, {name}: missed", found["missed"] / found["cycles"], target, **found))
    return rows


def _soaked(rate: int, seconds: float, priority: int, hogs: int) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    busy = [context.Process(target=_burn, daemon=True) for _ in range(hogs)]
    for hog in busy:
        hog.start()
    mine, theirs = context.Pipe()
    worker = context.Process(target=_soak_worker, args=(rate, seconds, priority, theirs), daemon=True)
    worker.start()
    found = mine.recv()
    worker.join()
    for hog in busy:
        hog.kill()
    return found


def _soak_worker(rate: int, seconds: float, priority: int, answer: Any) -> None:
    from embodied.deploy.daemon import _real_time

    with tempfile.TemporaryDirectory() as folder:
        arm, twin = connected(Path(folder))
        clock = MonotonicClock()
        loop = make_loop({**robot_config(), "rate_hz": rate, "safety": safety_config(), "blend_s": 0.0}, arm, clock)
        loop.arm()
        real_time = _real_time(priority)
        pacer, stamps = Pacer(rate, clock), []
        for _ in range(rate):
            loop.cycle()
            pacer.wait()
        pacer.missed = pacer.cycles = 0
        files, memory = len(os.listdir("/proc/self/fd")), _memory_mb()
        loop.go_to([HOME[0] + 0.8, *HOME[1:]])
        for i in range(round(seconds * rate)):
            if loop.at_pose:
                loop.go_to([HOME[0] + (0.8 if i // (4 * rate) % 2 else -0.8), *HOME[1:]])
            loop.cycle()
            pacer.wait()
            stamps.append(clock.now_s())
        periods = np.diff(stamps) * rate
        found = {
            "period_p99": float(np.percentile(periods, 99)),
            "period_max": float(periods.max()),
            "missed": float(pacer.missed),
            "cycles": float(pacer.cycles),
            "late_p99_ms": pacer.summary()["late_p99_ms"],
            "grew_mb": _memory_mb() - memory - 8e-6 * 2 * len(stamps),
            "files": float(len(os.listdir("/proc/self/fd")) - files),
            "real_time": float(real_time),
            "read_faults": float(loop.read_faults),
            "cpu_share": sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) / (seconds + 2.0),
        }
        arm.disconnect()
        twin.close()
    answer.send(found)


def _memory_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _burn() -> None:
    while True:
        sum(range(10_000))


def lerobot(quick: bool) -> list[Row]:
    """LeRobot's own class and ours, one after the other on the same twin (LEROBOT_PYTHON: its environment's python)."""
    python = os.environ.get("LEROBOT_PYTHON", "")
    if not python:
        missing = Row(row("LeRobot 0.4.4 on the same twin", math.nan, None))
        missing["peer_name"] = "LEROBOT_PYTHON=<python of an environment with lerobot==0.4.4>"
        return [missing]
    n = 500 if quick else 5_000
    script = str(Path(__file__).resolve().parent / "peers" / "lerobot_arm.py")
    with tempfile.TemporaryDirectory() as folder:
        connection, twin = start_twin(robot_config(), Path(folder), manual=False, priority=45)
        words = [python, script, connection["port"], connection["calibration"]]
        peer = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert peer.stdin is not None
        assert peer.stdout is not None

        def ask(**command: Any) -> dict[str, Any]:
            peer.stdin.write(json.dumps(command) + "\n")
            peer.stdin.flush()
            return json.loads(peer.stdout.readline())

        connects = json.loads(peer.stdout.readline())
        observed = ask(observe=True)
        theirs = ask(cycles=n).get("answer") or {"hz": 0.0, "p99_ms": math.inf}
        at_nan, at_huge = ask(send=math.nan), ask(send=1e9)
        ask(disconnect=True)
        arm = so101(connection["port"], connection["calibration"])
        arm.connect()
        hold, spent = arm.arm().position_rad, []
        for _ in range(n):
            begin = time.perf_counter()
            arm.observe()
            arm.send(hold)
            spent.append(time.perf_counter() - begin)
        arm.disconnect()
        twin.close()
        connection, twin = start_twin(robot_config(), Path(folder), manual=False, priority=45)
        peer.stdin.close()
        peer.wait(timeout=30)
        words = [python, script, connection["port"], connection["calibration"]]
        peer = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        peer.stdout.readline()
        ask(observe=True)
        twin.tell(cut=True)
        at_cut, after = ask(observe=True), ask(connected=True)
        leaves = ask(disconnect=True)
        peer.kill()
        twin.close()
    ours_hz, p99_ms = n / sum(spent), 1e3 * float(np.percentile(spent, 99))
    drives = float("error" not in connects and "error" not in observed)
    ours = {
        "nan": "refused before the bus, the arm stands",
        "1e9": "a jump: hold, latched",
        "cable": "RobotLostError, hold latched, silent teardown",
    }
    found = [
        row("LeRobot 0.4.4's SO101Follower drives our twin", drives, 1.0, "at least"),
        row("observation and action, ours beside LeRobot's class [cycles/s]", ours_hz, theirs["hz"], "at least"),
        row("the same, 99th percentile [ms]", p99_ms, theirs["p99_ms"]),
        row("LeRobot: NaN, 1e9, pulled cable", 0.0, None),
    ]
    for one, peer_value in zip(found[1:3], (theirs["hz"], theirs["p99_ms"]), strict=True):
        one.update(peer=peer_value, peer_name="LeRobot 0.4.4", ratio=one["ours"] / peer_value)
    found[3].update(
        nan=at_nan.get("error", "accepted"),
        huge=at_huge.get("error", "accepted"),
        cable=at_cut.get("error", "no error"),
        then_connected=after.get("connected"),
        then_disconnect=leaves.get("error", "silent"),
        ours_does=ours,
    )
    return found
