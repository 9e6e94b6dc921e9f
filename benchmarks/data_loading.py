"""Samples per second of our windowed loader, cold and cached, against LeRobot's own loader on the same files.

`python benchmarks/data_loading.py [--quick] [--dataset <folder>]`; `LEROBOT_PYTHON=<python of its environment>` names
the peer. A sample is one picture, the state and a chunk of 16 actions. Cold is the first epoch: decoding each film once
and writing the cache; cached is every later one. One thread each, CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import Metric, finish

from embodied.core.policy import STATE_KEY
from embodied.data.dataset import Dataset
from embodied.data.windows import Batches, Windows

CHUNK, BATCH = 16, 32


def recorded(folder: Path, episodes: int) -> Path:
    """Meta-World demonstrations at 128 x 128 pixels."""
    words = ["record", "tasks=[metaworld/drawer-open,metaworld/window-open]", f"dataset={folder}"]
    command = [sys.executable, "-m", "embodied.commands.main", *words, f"episodes={episodes}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def epoch(windows: Windows, seed: int) -> tuple[int, float, float]:
    """Samples, CPU and wall seconds of one epoch."""
    batches = Batches(windows, batch_size=BATCH, seed=seed)
    count = len(windows) // BATCH
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        next(batches)
    return count * BATCH, time.process_time() - cpu, time.perf_counter() - wall


def ours(folder: Path) -> dict[str, float]:
    """Samples per CPU second: cold, the first epoch with decoding; cached, the median of three more."""
    dataset = Dataset(folder)
    steps = {"action": range(CHUNK), STATE_KEY: (0,), **dict.fromkeys(dataset.cameras, (0,))}
    with tempfile.TemporaryDirectory() as cache:
        cpu = time.process_time()
        windows = Windows(dataset, steps, cache=Path(cache))
        samples, *_ = epoch(windows, 0)
        cold = samples / (time.process_time() - cpu)
        warm = sorted(samples / epoch(windows, seed)[1] for seed in (1, 2, 3))[1]
    return {"cold": cold, "cached": warm, "frames": float(len(dataset))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few episodes, few of the peer's samples")
    parser.add_argument("--dataset", help="a folder; by default demonstrations are recorded for the purpose")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(given.dataset) if given.dataset else recorded(Path(scratch) / "d", 4 if given.quick else 20)
        found, peer, name = ours(folder), None, "LEROBOT_PYTHON is not set"
        if python := os.environ.get("LEROBOT_PYTHON"):
            script = Path(__file__).parent / "peers" / "lerobot_loading.py"
            count = "150" if given.quick else "600"
            command = [python, str(script), str(folder), count, str(CHUNK)]
            done = subprocess.run(command, capture_output=True, text=True, cwd=scratch)
            if done.returncode == 0:
                peer = json.loads(done.stdout.strip().splitlines()[-1])
                name = f"LeRobot {peer['version']} ({peer['backend']})"
            else:
                name = f"LeRobot failed: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}"
    theirs = peer["per_cpu_s"] if peer else None
    metrics = [
        Metric(
            f"samples per CPU second, {kind}",
            found[kind],
            theirs,
            name,
            found[kind] / theirs if theirs else None,
            target,
            {},
        )
        for kind, target in (("cold", 1.0), ("cached", 3.0))
    ]
    return finish("data_loading", metrics, seeds=[0, 1, 2, 3], frames=found["frames"], peer=peer)


if __name__ == "__main__":
    sys.exit(main())
