"""Two right ways: round a post on the left or on the right, shown in equal shares. One answer leads into the post.

`python benchmarks/vla_multimodal.py [--quick] [--heads l1,binned,...] [--seeds 0,1,2] [--again]`. 60
demonstrations of the task `go_around`; 50 episodes at places that no demonstration had. A policy without a side of its
own comes too near to the post, which ends the episode.
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
from vla import X0, Work, fitted, part, recorded

from embodied.core.stats import wilson_interval
from embodied.policies.trial import try_out
from embodied.policies.vla_policy import VLAPolicy
from embodied.rl.writing import make_task
from embodied.sim.batch_env import BatchEnv

TASK, BUDGET_S, SEED_OF_STARTS = "go_around", 240.0, 4242
HEADS: dict[str, dict[str, Any]] = {"l1": {}, "binned": {}, "fourier": {}, "diffusion": X0, "flow": {}}
SUFFICIENT = ("diffusion", "flow", "fourier")


def tried(policy: VLAPolicy, episodes: int, seed: int) -> dict[str, int]:
    """Successes, and how many of them on the right."""
    task, beside = make_task(TASK), np.zeros(episodes)

    def watch(env: BatchEnv) -> None:
        off = env.world.quantity("hand.position") - env.world.quantity("post.position")
        level = np.abs(off[:, 1]) < 0.03
        beside[level] = np.sign(off[level, 0])

    success = try_out(task, policy, episodes=episodes, seed=seed, watch=watch).success
    return {"success": int(success.sum()), "right": int((success & (beside > 0)).sum()), "episodes": episodes}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="ten demonstrations, 15 s, one seed")
    parser.add_argument("--again", action="store_true", help="also rows that stand")
    parser.add_argument("--heads", default=",".join(HEADS))
    parser.add_argument("--seeds", default="0,1,2")
    given = parser.parse_args()
    torch.set_num_threads(1)
    budget, demonstrations, episodes = (15.0, 10, 6) if given.quick else (BUDGET_S, 60, 50)
    seeds = [0] if given.quick else [int(s) for s in given.seeds.split(",")]
    with Work.open(given.quick, given.again) as work:
        dataset = recorded(work.data / TASK, [TASK], demonstrations, "noise=[0,0.1]")
        for seed in seeds:
            for head in given.heads.split(","):
                if not work.wants(f"multimodal-{head}.seed{seed}"):
                    continue
                with tempfile.TemporaryDirectory() as scratch:
                    settings = {**part(f"head/{head}"), **HEADS[head]}
                    steps = work.steps(f"multimodal-{head}", budget, dataset, settings, False)
                    row = fitted(dataset, Path(scratch), settings, False, steps, seed)
                    row |= tried(VLAPolicy.load(Path(scratch) / "policy"), episodes, SEED_OF_STARTS + seed)
                work.keep(f"multimodal-{head}.seed{seed}", row)
                print(head, seed, row, flush=True)
        rows = {head: work.rows(f"multimodal-{head}") for head in HEADS}
    metrics = [metric(head, runs) for head, runs in rows.items() if runs]
    return finish("vla_multimodal", metrics, seeds=seeds, rows=rows)


def metric(head: str, runs: list[dict[str, Any]]) -> Metric:
    """Success of one head over all seeds; a target where the head gives a distribution and samples from it."""
    hits, n = sum(r["success"] for r in runs), sum(r["episodes"] for r in runs)
    low, high = wilson_interval(hits, n)
    right = sum(r["right"] for r in runs) / max(hits, 1)
    target = 1.0 if head in SUFFICIENT else None
    peer = (0.9, "target", hits / n / 0.9) if head in SUFFICIENT else (None, "", None)
    return Metric(f"go_around, {head}", hits / n, *peer, target, {"low": low, "high": high, "right": right})


if __name__ == "__main__":
    sys.exit(main())
