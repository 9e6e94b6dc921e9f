"""Runs hostile reward programs, one forked child each: a script of the tests, with a clean environment.

Reads jobs from standard input, one JSON line each: `{"path", "mode", "folder"}`; answers one line each.
Modes: `full` (static check, then the light lock), `bypass` (no static check, trainer lock), `open` (neither).
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, sys.argv[1])  # before an installed package of another checkout

# What attacks import: loaded here, so that they reach the lock instead of failing for want of a module.
import ctypes
import importlib
import mmap
import multiprocessing
import pathlib
import pickle
import resource
import socket
import subprocess
import tempfile
import urllib.request

import numpy as np

from embodied.core.errors import RewardCodeError
from embodied.core.quantities import Quantity, Schema
from embodied.core.reward import RewardProgram
from embodied.core.world import World
from embodied.sandbox.lock import GIB, Limits, apply_lock, warm_up
from embodied.sandbox.static_check import check_source

_LOADED = (
    ctypes,
    importlib,
    mmap,
    multiprocessing,
    pathlib,
    pickle,
    resource,
    socket,
    subprocess,
    tempfile,
    urllib,
)
READY_S, RUN_S = 30.0, float(sys.argv[2])
SLOW_S = 0.005
SHAPES = {
    "ee_pos": (3,), "ee_vel": (3,), "obj_pos": (3,), "obj_vel": (3,), "goal_pos": (3,), "qpos": (9,),
    "qvel": (9,), "gripper": (), "grasped": (), "t": (), "success": (),
}  # fmt: skip
SCHEMA = Schema.of([Quantity(path, shape, "1", "world", path) for path, shape in SHAPES.items()])


def batch(rows: int) -> tuple[World, np.ndarray]:
    """States of one episode: random vectors, `t` counts the steps."""
    rng = np.random.default_rng(0)
    values = {path: rng.normal(size=(rows, *shape)) for path, shape in SHAPES.items()}
    steps = np.arange(rows, dtype=float)
    values |= {"t": steps, "time": 0.05 * steps, "grasped": np.zeros(rows), "success": np.zeros(rows)}
    return World(SCHEMA, values), rng.uniform(-1, 1, size=(rows, 4))


def evaluate(source: str, *, reviewed: bool) -> dict:
    """The verdict of running a program, here and now."""
    try:
        bound = RewardProgram(source, "test", "hostile").bind(reviewed=reviewed)
        totals = []
        for rows in (8, 256):
            world, action = batch(rows)
            began = time.process_time()
            totals.append(bound(world, action)[0])
            per_call_s = (time.process_time() - began) / rows
            if per_call_s > SLOW_S:
                return {
                    "verdict": "contained_runtime",
                    "detail": f"too slow: {per_call_s * 1e3:.1f} ms a call",
                }
    except RewardCodeError as error:
        return {"verdict": "error_reported", "detail": str(error)[:300]}
    forged = bool(np.any(np.concatenate(totals) == 666.0))
    return {"verdict": "accepted", "detail": "", "forged": forged}


def child(job: dict, source: str, out_fd: int, parent: int) -> None:
    """The forked side; never returns."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.chdir(job["folder"])
        if job["mode"] != "open":
            trainer = job["mode"] == "bypass"
            apply_lock(
                "trainer" if trainer else "light",
                parent_pid=parent,
                writable=Path(job["folder"]) if trainer else None,
                limits=Limits(address_space_bytes=4 * GIB, file_bytes=16 << 20),
                keep_fds={out_fd},
            )
    except BaseException as error:
        os.write(out_fd, json.dumps({"verdict": "infrastructure", "detail": repr(error)}).encode())
        os._exit(0)
    os.write(out_fd, b"R\n")
    try:
        result = evaluate(source, reviewed=job["mode"] == "open")
    except BaseException as error:
        result = {"verdict": "error_reported", "detail": type(error).__name__}
    os.write(out_fd, json.dumps(result).encode())
    os._exit(0)


def run_forked(job: dict, source: str) -> dict:
    """Forks, waits, kills at the deadline, and gives the verdict."""
    read_fd, write_fd = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        child(job, source, write_fd, parent)
    os.close(write_fd)
    data, deadline, ready, late = b"", time.monotonic() + READY_S, False, False
    while True:
        found, _, _ = select.select([read_fd], [], [], max(0.0, deadline - time.monotonic()))
        if not found:
            late = True
            break
        chunk = os.read(read_fd, 65536)
        if not chunk:
            break
        data += chunk
        if not ready and data.startswith(b"R\n"):
            ready, data, deadline = True, data[2:], time.monotonic() + RUN_S
    os.close(read_fd)
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    try:
        answer = json.loads(data)
        if ready or answer["verdict"] == "infrastructure":
            return answer
    except (ValueError, KeyError, TypeError):
        pass
    if not ready:
        return {"verdict": "infrastructure", "detail": f"never ready, status {status}"}
    return {
        "verdict": "contained_runtime",
        "detail": "too slow or hung" if late else f"died, status {status}",
    }


def serve() -> None:
    """Until standard input ends."""
    warm_up()
    for line in sys.stdin:
        job = json.loads(line)
        raw = Path(job["path"]).read_bytes()
        if job["mode"] == "full" and not (checked := check_source(raw, SCHEMA)).ok:
            answer = {"verdict": "rejected_static", "detail": str(checked)[:500]}
        else:
            answer = run_forked(job, raw.decode("utf-8", "surrogateescape"))
        print(json.dumps({**answer, "path": job["path"], "mode": job["mode"]}), flush=True)


serve()
