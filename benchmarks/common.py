"""What all benchmarks share: metrics with a target, CPU time with children, one JSON line, one result file."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embodied.core.files import read_json, write_json
from embodied.core.runs import find_runs, machine_provenance
from embodied.rl.rounds import last_round

RESULTS = Path(__file__).resolve().parent / "results"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Metric:
    """One comparison.

    Attributes:
        name: what is compared, with its unit.
        ours: our figure.
        peer: the peer's figure from the same run, None where it could not be run.
        peer_name: who the peer is, with its version or the reason why it is missing.
        ratio: ours over peer (or as `name` says), a median over rounds.
        target: the ratio that we promise, None where we only report.
        more: further figures, such as CPU-seconds.
    """

    name: str
    ours: float | None
    peer: float | None
    peer_name: str
    ratio: float | None
    target: float | None
    more: Mapping[str, Any]

    @property
    def ok(self) -> bool | None:
        """Whether the target is met; None without a target or a figure."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio >= self.target

    def to_json(self) -> dict[str, Any]:
        """Plain data, figures rounded to four digits."""
        data = {key: rounded(value) for key, value in asdict(self).items() if key != "more"}
        return {**data, "ok": self.ok, **{key: rounded(value) for key, value in self.more.items()}}


def rounded(value: Any) -> Any:
    """Floats to four significant digits."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def finish(benchmark: str, metrics: Sequence[Metric], *, seeds: Sequence[int], **more: Any) -> int:
    """Writes `benchmarks/results/<benchmark>.json`, prints the JSON line last; the exit code says if all is ok."""
    rows = [metric.to_json() for metric in metrics]
    load = os.getloadavg()
    result = {
        "benchmark": benchmark,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seeds": list(seeds),
        "load_average": [round(x, 2) for x in load],
        "machine": machine_provenance(),
        **more,
        "metrics": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{benchmark}.json", result)
    sys.stdout.write(json.dumps({"benchmark": benchmark, "metrics": rows}) + "\n")
    return 0 if all(metric.ok is not False for metric in metrics) else 1


def cpu_s() -> float:
    """CPU seconds of this process, all its threads and its living child processes."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return total


def timed(function: Callable[[], int]) -> tuple[int, float, float]:
    """Runs `function`, which returns how many steps it made: `(steps, wall seconds, CPU seconds)`."""
    wall, cpu = time.perf_counter(), cpu_s()
    steps = function()
    return steps, time.perf_counter() - wall, cpu_s() - cpu


def train(task: str, seed: int, reward: str, folder: Path, *more: str) -> dict[str, Any]:
    """One run of `embodied train`; its result.json, with the screen and the duration of the whole command.

    Args:
        task: name of the task.
        seed: seed of the training.
        reward: option of the group `reward`.
        folder: where the run goes; must hold no other.
        more: further words of the command.
    """
    begin = time.monotonic()
    words = [f"task={task}", f"seed={seed}", f"reward={reward}", f"runs_dir={folder}", "video.episodes=0", *more]
    done = subprocess.run(
        [sys.executable, "-m", "embodied.commands.main", "train", *words], capture_output=True, text=True
    )
    runs = find_runs(folder)
    if done.returncode or not runs or runs[0].result is None:
        return {"error": (done.stderr or done.stdout).strip().splitlines()[-1:]}
    run = runs[0]
    check = read_json(last_round(run) / "check.json")
    screen = check["screen"] or {}
    return {
        **run.result,
        "run": str(run.path),
        "screen_auc": screen.get("auc"),
        "seconds": round(time.monotonic() - begin, 1),
    }
