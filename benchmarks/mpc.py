"""The planner's rate, and what it costs beyond the raw rollouts.

Ours: a whole plan (candidates, rollouts with exact sensors, the reward program, the next plan) on the quadruped, 32
candidates of 36 physics steps of 10 ms. The limit: `mujoco.rollout` alone, which plays the very candidates of those
plans on the same model and threads. Interleaved rounds; the ratio is the median of ours over the limit, in wall
seconds and in CPU seconds.

    python benchmarks/mpc.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from mujoco import rollout

sys.path.insert(0, str(Path(__file__).resolve().parent))
import common

from embodied.control.mppi import MPPI
from embodied.control.planner import Plan, SamplingPlanner
from embodied.core.assets import sim_assets_dir
from embodied.core.reward import RewardProgram
from embodied.rewards.quadruped_motion import QuadrupedMotion
from embodied.rl.writing import make_task
from embodied.sim.batch_env import BatchEnv
from embodied.sim.task import Start

SAMPLES, HORIZON_S, PHYSICS_DT_S, KNOTS, THREADS = 32, 0.36, 0.01, 3, 2
RATE_HZ, COST = 40.0, 1.15


class AtMost(common.Metric):
    """A ratio of costs: the smaller the better."""

    @property
    def ok(self) -> bool | None:
        """Whether the ratio is at most the target."""
        return None if self.ratio is None or self.target is None else self.ratio <= self.target


class Judo:
    """judo's planner in its own environment, named by the variable JUDO_PYTHON."""

    def __init__(self, model_path: str) -> None:
        self.rows: list[dict[str, float]] = []
        self._process, python = None, os.environ.get("JUDO_PYTHON", "")
        if python:
            script = Path(__file__).resolve().parent / "peers" / "judo_planner.py"
            words = [str(sim_assets_dir() / model_path), *map(str, (PHYSICS_DT_S, HORIZON_S, SAMPLES, KNOTS))]
            pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._process = subprocess.Popen([python, str(script), *words], **pipes)
            self.about = json.loads(self._process.stdout.readline())

    def measure(self, plans: int) -> None:
        """One round."""
        if self._process is not None:
            self._process.stdin.write(f"{plans}\n")
            self._process.stdin.flush()
            self.rows.append(json.loads(self._process.stdout.readline()))

    def metric(self, our_cpu_ms: float, our_ratio: float) -> common.Metric:
        """Our CPU milliseconds a plan over judo's, with what each costs beyond its own MuJoCo's rollouts."""
        name = "quadruped: CPU ms of a plan"
        if self._process is None:
            missing = "judo: python3 -m venv J; J/bin/pip install judo-rai==0.1.0; JUDO_PYTHON=J/bin/python"
            return AtMost(name, our_cpu_ms, None, missing, None, None, {})
        self._process.stdin.close()
        self._process.wait(timeout=30)
        cpu_ms = 1e3 * statistics.median(row["cpu_s"] for row in self.rows)
        more = {
            "our_cost_over_rollouts": our_ratio,
            "peer_cost_over_rollouts": statistics.median(row["cpu_s"] / row["raw_cpu_s"] for row in self.rows),
            "peer_physics_steps": self.about["steps"],
        }
        peer = f"judo-rai 0.1.0, predictive sampling, MuJoCo {self.about['mujoco']} (ours: {mujoco.__version__})"
        return AtMost(name, our_cpu_ms, cpu_ms, peer, our_cpu_ms / cpu_ms, None, more)


def standing_program() -> RewardProgram:
    """The terms of a typical motion: stand, turn, lift a paw."""
    motion = QuadrupedMotion()
    motion.set_torso_targets(0.26, 0.0, 0.0, (0.0, 0.0), None, 1.0, None)
    motion.set_foot_pos_parameters("front_right", 0.1, 0.0, 0.0)
    motion.execute_plan()
    return RewardProgram(motion.source(), "expert", "quadruped/lift_paw", evaluation="batched")


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    rounds, plans = (5, 20) if parser.parse_args().quick else (15, 60)
    task = make_task("quadruped/lift_paw")
    planner = SamplingPlanner(
        task,
        standing_program().bind(reviewed=True),
        MPPI(noise=0.2),
        n_samples=SAMPLES,
        horizon_s=HORIZON_S,
        n_knots=KNOTS,
        n_threads=THREADS,
        physics_dt_s=PHYSICS_DT_S,
    )
    env = BatchEnv(task, n_envs=1, seed=0)
    env.reset()
    model = planner._model
    steps = planner.n_steps * round(task.control_dt_s / PHYSICS_DT_S)
    pool = rollout.Rollout(nthread=THREADS)
    data = [mujoco.MjData(model) for _ in range(THREADS)]
    played: list[tuple[np.ndarray, np.ndarray]] = []
    play = planner._engine.rollout

    def watched(states: np.ndarray, controls: np.ndarray) -> Any:
        played.append((states, controls))
        return play(states, controls)

    planner._engine.rollout = watched

    def move(plan: Plan) -> tuple[Start, np.ndarray]:
        env.step(plan.actions[:1], autoreset=False)
        return env.start_of(0), env.t0

    def ours() -> tuple[float, float]:
        """Wall and CPU seconds of the plans alone; the robot moves between them."""
        played.clear()
        wall, cpu, now = 0.0, 0.0, (env.start_of(0), env.t0)
        for _ in range(plans):
            wall_s, cpu_s = time.perf_counter(), common.cpu_s()
            plan = planner.plan(*now)
            wall, cpu = wall + time.perf_counter() - wall_s, cpu + common.cpu_s() - cpu_s
            now = move(plan)
        return wall, cpu

    def limit() -> int:
        for states, controls in played:
            held = np.repeat(controls, planner._n_substeps, axis=1)
            pool.rollout([model] * SAMPLES, data, states, held, nstep=steps)
        return plans

    peer = Judo(model_path="robots/quadruped.xml")
    ours(), limit()
    wall: list[tuple[float, float]] = []
    cpu: list[tuple[float, float]] = []
    for _ in range(rounds):
        a, (_, *b) = ours(), common.timed(limit)
        wall.append((a[0] / plans, b[0] / plans))
        cpu.append((a[1] / plans, b[1] / plans))
        peer.measure(plans)
    median = statistics.median
    own_s, limit_s = median(a for a, _ in wall), median(b for _, b in wall)
    more: dict[str, Any] = {
        "cpu_ms_per_plan": 1e3 * median(a for a, _ in cpu),
        "limit_cpu_ms": 1e3 * median(b for _, b in cpu),
        "ratio_per_cpu_second": median(a / b for a, b in cpu),
        "samples": SAMPLES,
        "physics_steps": steps,
        "threads": THREADS,
    }
    rate = 1.0 / own_s
    metrics = [
        common.Metric("quadruped: plans a second", rate, RATE_HZ, "25 ms a plan", rate / RATE_HZ, 1.0, more),
        AtMost(
            "quadruped: cost of a plan over its rollouts",
            1e3 * own_s,
            1e3 * limit_s,
            "mujoco.rollout alone [ms]",
            median(a / b for a, b in wall),
            COST,
            {"target_is": "at most"},
        ),
    ]
    metrics.append(peer.metric(more["cpu_ms_per_plan"], more["ratio_per_cpu_second"]))
    for metric in metrics:
        print(metric.name, metric.ours, metric.peer, metric.ratio, metric.ok)
    return common.finish("mpc", metrics, seeds=[0], quick=plans == 20, started=time.strftime("%H:%M"))


if __name__ == "__main__":
    sys.exit(main())
