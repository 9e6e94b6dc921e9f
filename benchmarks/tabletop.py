"""Text2Reward on the tabletop: success with the written reward beside the expert reward, task by task.

Trains with `embodied train` (recorded answers, `llm=replay`) on several seeds, two trainings at a time, and measures
50 fresh episodes with the trusted evaluator. `--quick` runs one seed of the two quickest tasks.

    python benchmarks/tabletop.py [--quick] [--tasks reach,open_drawer] [--seeds 0,1,2]

Tasks that a run leaves out keep their rows of the last result.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import RESULTS, finish, train

from embodied.core.files import read_json
from embodied.core.stats import wilson_interval

REQUIRED = ("reach", "press_button", "close_drawer", "open_drawer", "push_cube")
OTHERS = ("lift_cube", "pick_cube", "turn_faucet", "open_cabinet_door")
ORDER = (*REQUIRED, *OTHERS)
TARGET = 0.9


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tasks", default="")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--reward", default="text2reward")
    given = parser.parse_args()
    tasks = given.tasks.split(",") if given.tasks else (("reach", "open_drawer") if given.quick else REQUIRED + OTHERS)
    seeds = [0] if given.quick else [int(s) for s in given.seeds.split(",")]
    rows, metrics = [], []
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks:
            found = [train(task, seed, given.reward, Path(folder) / f"{task}_{seed}") for seed in seeds]
            rows += [{"task": task, "seed": seed, **row} for seed, row in zip(seeds, found, strict=True)]
            metrics.append(summary(task, found, seeds))
            print(metrics[-1], flush=True)
    kept = [] if given.quick else earlier(tasks)
    metrics = sorted([*kept, *metrics], key=lambda row: ORDER.index(row["name"].removesuffix(" success")))
    name = "tabletop" if given.reward == "text2reward" else f"tabletop_{given.reward}"
    sys.exit(finish(name, metrics, seeds=seeds, rows=rows, quick=given.quick))


def earlier(tasks: Sequence[str]) -> list[Row]:
    """Rows of tasks that this run leaves out, from the last result; each row has its own date and seeds."""
    path = RESULTS / "tabletop.json"
    rows = read_json(path)["metrics"] if path.is_file() else []
    return [Row(row) for row in rows if row["name"].removesuffix(" success") not in tasks]


class Row(dict):
    """A metric as plain data; `ok` is None where there is no target."""

    def to_json(self) -> dict:
        """Plain data."""
        return dict(self)

    @property
    def ok(self) -> bool | None:
        """Whether every seed reaches the target."""
        return self["ok"]


def summary(task: str, found: list[dict], seeds: Sequence[int]) -> Row:
    """Success over all seeds of one task, written reward against expert reward at the same budget."""
    good = [row for row in found if "success" in row]
    episodes = sum(row["success"]["episodes"] for row in good)
    hits = sum(round(row["success"]["rate"] * row["success"]["episodes"]) for row in good)
    ours = hits / episodes if episodes else 0.0
    expert = [row["baselines"]["expert"]["rate"] for row in good if "expert" in row.get("baselines", {})]
    peer = sum(expert) / len(expert) if expert else None
    low, high = wilson_interval(hits, episodes)
    worst = min((row["success"]["rate"] for row in good), default=0.0)
    return Row(
        name=f"{task} success",
        seeds=list(seeds),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        ours=round(ours, 4),
        interval=[round(low, 4), round(high, 4)],
        worst_seed=worst,
        by_seed=[row["success"]["rate"] if "success" in row else row.get("error") for row in found],
        peer=peer,
        peer_name="expert reward, same budget",
        ratio=round(ours / peer, 3) if peer else None,
        steps=good[0]["steps"] if good else None,
        screen_auc=good[0]["screen_auc"] if good else None,
        target=TARGET if task in REQUIRED else None,
        ok=(worst >= TARGET and len(good) == len(found)) if task in REQUIRED else None,
    )


if __name__ == "__main__":
    main()
