"""One reward program, two ways to turn it into behaviour: reinforcement learning and sampling MPC.

    python benchmarks/one_reward.py [--quick] [--tasks open_drawer] [--seed 0]

The recorded Text2Reward program of a task trains a policy (`embodied train`) and is planned with (`embodied plan`);
success is measured on fresh episodes by the task's own predicate in both cases. `--quick`: few planned episodes, no
training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import finish
from tabletop import Row

from embodied.core.runs import find_runs

PLANNING = (
    "planner=mppi",
    "planning.n_samples=32",
    "planning.horizon_s=0.6",
    "planning.n_threads=2",
    "video.seconds=0",
)
TRAINING = ("baselines=[]", "video.episodes=0", "n_threads=2")
EPISODES = 50


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tasks", default="open_drawer")
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    rows = []
    for task in words.tasks.split(","):
        planned = run("plan", task, words.seed, *PLANNING, f"episodes={5 if words.quick else EPISODES}")
        rows.append(
            _row(
                f"{task} by MPC: success",
                planned,
                planned["result"]["rate"],
                ms_per_plan=planned["result"]["ms_per_plan"],
            )
        )
        if words.quick:
            continue
        trained = run("train", task, words.seed, *TRAINING, f"evaluation.episodes={EPISODES}")
        same = trained["result"]["reward"]["sha256"] == planned["result"]["reward"]["sha256"]
        rows.append(
            _row(
                f"{task} by RL: success",
                trained,
                trained["result"]["success"]["rate"],
                steps=trained["result"]["steps"],
            )
        )
        rows.append(
            Row(
                name=f"{task}: the same program",
                ours=float(same),
                peer=None,
                peer_name="-",
                ratio=None,
                target=1.0,
                ok=same,
            )
        )
    for row in rows:
        print(f"{row['name']:32s} {row['ours']:.2f}  {row.get('seconds', 0.0):7.1f} s in all")
    raise SystemExit(finish("one_reward", rows, seeds=[words.seed]))


def run(command: str, task: str, seed: int, *words: str) -> dict[str, Any]:
    """One command on one task; gives its result and the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        arguments = [command, f"task={task}", "reward=text2reward", f"seed={seed}", f"runs_dir={folder}", *words]
        subprocess.run(
            [sys.executable, "-m", "embodied.commands.main", *arguments], check=True, stdout=subprocess.DEVNULL
        )
        (found,) = find_runs(Path(folder))
        return {"seconds": time.monotonic() - begin, "result": json.loads(json.dumps(found.result))}


def _row(name: str, found: dict[str, Any], rate: float, **more: Any) -> Row:
    result = found["result"]
    interval = result.get("success", result)
    figures = {"ours": rate, "low": interval["low"], "high": interval["high"], "episodes": interval["episodes"]}
    nothing = {"peer": None, "peer_name": "-", "ratio": None, "target": None, "ok": None}
    return Row(name=name, **figures, seconds=found["seconds"], **nothing, **more)


if __name__ == "__main__":
    main()
