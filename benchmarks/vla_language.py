"""Does the policy do what it is told? Drawers and windows half-way open, each told to be opened and to be closed.

`python benchmarks/vla_language.py [--quick] [--work <folder>] [--seeds 0,1,2]`. 25 demonstrations for each of the four
sentences; then from the same starts both sentences of a scene are told, and the thing must have moved at least 3 cm the
way that was said. The control is the same policy told a sentence that says nothing of the way: it should be near 50%.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Metric, finish
from vla import fitted, part, slug, steps_for

from embodied.core.files import read_json, write_json
from embodied.core.stats import wilson_interval
from embodied.data.dataset import Dataset
from embodied.policies.trial import try_out
from embodied.policies.vla_policy import VLAPolicy
from embodied.rl.writing import make_task
from embodied.sim.batch_env import BatchEnv

SCENES = {
    "drawer": ("shared/drawer-open", "shared/drawer-close"),
    "window": ("shared/window-open", "shared/window-close"),
}
AXIS, MOVED_M, BLIND = (
    {"drawer": (1, -1.0), "window": (0, 1.0)},
    0.03,
    {"drawer": "The drawer.", "window": "The window."},
)


def travelled(policy: VLAPolicy, scene: str, start: str, told: str, episodes: int, seed: int) -> np.ndarray:
    """How far the thing was opened `(E,)` [m], negative where it was closed, from one task's starts."""
    task, (axis, sign) = make_task(start), AXIS[scene]
    path: list[np.ndarray] = []

    def watch(env: BatchEnv) -> None:
        if not path:
            path.append(env.world.previous.quantity("handle.position")[:, axis].copy())
        path.append(env.world.quantity("handle.position")[:, axis].copy())

    # The trial must not stop an episode where the *scene's* task succeeds: told otherwise, it is not over.
    task.success = lambda world: np.zeros(world.batch_shape, dtype=bool)  # type: ignore[method-assign]
    try_out(task, policy, episodes=episodes, seed=seed, instruction=told, episode_steps=160, watch=watch)
    return sign * (path[-1] - path[0])


def measured(policy: VLAPolicy, episodes: int, seed: int) -> dict[str, Any]:
    """Per scene and sentence: how often the thing moved as it was told; and how often it is opened when not told."""
    found: dict[str, Any] = {}
    for scene, (opening, closing) in SCENES.items():
        sentences = {1.0: make_task(opening).instruction, -1.0: make_task(closing).instruction}
        for start in (opening, closing):
            for way, told in sentences.items():
                moved = way * travelled(policy, scene, start, told, episodes, seed)
                swapped = (way > 0) != (start == opening)
                found[f"{start}, told: {told}"] = {"right": int((moved > MOVED_M).sum()), "swapped": swapped}
        blind = travelled(policy, scene, opening, BLIND[scene], episodes, seed)
        found[f"{scene}, told: {BLIND[scene]}"] = {
            "opened": int((blind > MOVED_M).sum()),
            "closed": int((blind < -MOVED_M).sum()),
        }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four demonstrations, 15 s, one seed")
    parser.add_argument("--work", default="", help="folder of what is finished; by default a fresh one")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--head", default="flow")
    given = parser.parse_args()
    torch.set_num_threads(1)
    budget, demonstrations, episodes = (15.0, 4, 4) if given.quick else (420.0, 25, 20)
    seeds = [0] if given.quick else [int(s) for s in given.seeds.split(",")]
    with tempfile.TemporaryDirectory() as fresh:
        work = Path(given.work or fresh)
        folder = work / "shared"
        if not (folder / "meta" / "tasks.parquet").exists():
            names = ",".join(name for pair in SCENES.values() for name in pair)
            words = ["record", f"tasks=[{names}]", f"dataset={folder}", f"episodes={demonstrations}"]
            subprocess.run([sys.executable, "-m", "embodied.commands.main", *words], check=True)
        head, timed, rows = part(f"head/{given.head}"), work / "step_s" / f"language-{slug(given.head)}.json", []
        for seed in seeds:
            path = work / "rows" / f"language-{slug(given.head)}.seed{seed}.json"
            if not path.exists():
                with tempfile.TemporaryDirectory() as scratch:
                    steps = steps_for(timed, budget, Dataset(folder), head, True)
                    row = fitted(Dataset(folder), Path(scratch), head, True, steps, seed)
                    row["told"] = measured(VLAPolicy.load(Path(scratch) / "policy"), episodes, 555 + seed)
                write_json(path, row)
            rows.append(read_json(path))
    swapped = [r["right"] for row in rows for r in row["told"].values() if r.get("swapped")]
    same = [r["right"] for row in rows for r in row["told"].values() if r.get("swapped") is False]
    rate, own = sum(swapped) / (episodes * len(swapped)), sum(same) / (episodes * len(same))
    low, high = wilson_interval(sum(swapped), episodes * len(swapped))
    metrics = [
        Metric(
            "swapped instruction, swapped behaviour over 90%",
            rate,
            0.9,
            "target",
            rate / 0.9,
            1.0,
            {"low": low, "high": high},
        ),
        Metric("own instruction, own behaviour", own, None, "", None, None, {}),
    ]
    return finish("vla_language", metrics, seeds=seeds, rows=rows)


if __name__ == "__main__":
    sys.exit(main())
