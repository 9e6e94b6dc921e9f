"""Gymnasium's Ant by sampling MPC, without training: hold a height, go to a place, face a direction.

    python benchmarks/ant_mpc.py [--quick] [--seeds 0,1,2]

Hand-written programs; predictive sampling in lockstep. The figure is the error at the end, averaged over the last half
second, as the median over seeds. `--quick`: one seed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import finish
from tabletop import Row

from embodied.control.closed_loop import drive
from embodied.control.planner import SamplingPlanner
from embodied.control.predictive_sampling import PredictiveSampling
from embodied.core.reward import RewardProgram
from embodied.rl.writing import make_task
from embodied.sim.batch_env import BatchEnv

HEIGHT_M, PLACE_M, FACING_RAD = 0.6, (1.5, 1.0), np.pi / 2
SOURCE = """import numpy as np


def reward(world, action):
    w, x, y, z = np.moveaxis(world.torso.quaternion, -1, 0)
    heading = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    away = heading - AIM
    return {
        "aim": AIM_TERM,
        "upright": -2.0 * (x * x + y * y),
        "calm": CALM * np.sum(world.velocities**2, axis=-1),
    }
"""
AIMS = {
    "height": f"-20.0 * np.abs(world.torso.position[..., 2] - {HEIGHT_M})",
    "place": f"-3.0 * np.linalg.norm(world.torso.position[..., 0:2] - np.array({list(PLACE_M)}), axis=-1)",
    "facing": "-3.0 * np.abs(np.arctan2(np.sin(away), np.cos(away)))",
}
TARGETS = {"height": (0.005, "m"), "place": (0.03, "m"), "facing": (np.deg2rad(3.0), "rad")}
SETTINGS = {"n_samples": 32, "horizon_s": 0.6, "n_knots": 4, "spline": "linear", "n_threads": 0}
CALM = -0.002
SECONDS, REPLAN_EVERY, LAST_S = 10.0, 1, 0.5


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", default="0,1,2")
    words = parser.parse_args()
    seeds = [0] if words.quick else [int(seed) for seed in words.seeds.split(",")]
    rows = []
    for aim, (target, unit) in TARGETS.items():
        errors = [error(aim, seed) for seed in seeds]
        ours = statistics.median(errors)
        rows.append(
            Row(name=f"ant {aim}: error [{unit}]", ours=ours, peer=None, peer_name="no peer", ratio=None,
                target=float(target), target_is="at most", ok=bool(ours <= target), by_seed=errors)
        )  # fmt: skip
        print(dict(rows[-1]), flush=True)
    raise SystemExit(finish("ant_mpc", rows, seeds=seeds))


def error(aim: str, seed: int) -> float:
    """Mean error over the last half second of one episode."""
    task = make_task("ant")
    source = SOURCE.replace("AIM_TERM", AIMS[aim]).replace("AIM", str(FACING_RAD)).replace("CALM", str(CALM))
    bound = RewardProgram(source, "benchmark", "ant", evaluation="batched").bind(reviewed=True)
    planner = SamplingPlanner(task, bound, PredictiveSampling(noise=0.25), seed=seed, **SETTINGS)
    env = BatchEnv(task, n_envs=1, seed=seed)
    env.reset()
    steps, last, found = round(SECONDS / task.control_dt_s), round(LAST_S / task.control_dt_s), []
    for moment in drive(env, planner, steps, replan_every=REPLAN_EVERY):
        found.append(_error(aim, moment.step.world))
    planner.close()
    env.close()
    return float(np.mean(found[-last:]))


def _error(aim: str, world) -> float:
    position, (w, x, y, z) = world.quantity("torso.position")[0], world.quantity("torso.quaternion")[0]
    if aim == "height":
        return abs(position[2] - HEIGHT_M)
    if aim == "place":
        return float(np.linalg.norm(position[:2] - np.array(PLACE_M)))
    away = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)) - FACING_RAD
    return float(abs(np.arctan2(np.sin(away), np.cos(away))))


if __name__ == "__main__":
    main()
