"""Does the policy do what it is told? Drawers and windows half-way open, each told to be opened and to be closed.

`python benchmarks/vla_language.py [--quick] [--seeds 0,1,2] [--again]`. 25 demonstrations for each of the four
sentences; then from the same starts both sentences of a scene are told, and the thing must have moved at least 3 cm the
way that was said. The control is the same policy told a sentence that says nothing of the way: it should be near 50%.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Metric, finish
from vla import Work, fitted, part, recorded, slug

from embodied.core.stats import wilson_interval
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
    parser.add_argument("--again", action="store_true", help="also rows that stand")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--head", default="flow")
    given = parser.parse_args()
    torch.set_num_threads(1)
    budget, demonstrations, episodes = (15.0, 4, 4) if given.quick else (420.0, 25, 20)
    seeds = [0] if given.quick else [int(s) for s in given.seeds.split(",")]
    name, head = f"language-{slug(given.head)}", part(f"head/{given.head}")
    with Work.open(given.quick, given.again) as work:
        dataset = recorded(work.data / "shared", [task for pair in SCENES.values() for task in pair], demonstrations)
        steps = work.steps(name, budget, dataset, head, True)
        for seed in seeds:
            if not work.wants(f"{name}.seed{seed}"):
                continue
            with tempfile.TemporaryDirectory() as scratch:
                row = fitted(dataset, Path(scratch), head, True, steps, seed)
                row["told"] = measured(VLAPolicy.load(Path(scratch) / "policy"), episodes, 555 + seed)
            work.keep(f"{name}.seed{seed}", row)
        rows = work.rows(name)
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
