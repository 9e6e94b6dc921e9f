"""judo's predictive sampling on our quadruped, timed: runs in judo's own environment, not in ours.

    <venv>/bin/python benchmarks/peers/judo_planner.py <model.xml> <timestep> <horizon> <samples> <knots>

Reads a number of plans a line; answers with wall and CPU seconds of a plan, and of `mujoco.rollout` alone in the same
environment. The cost is that of standing at a height, upright, turned to 1 rad, one paw lifted: fewer terms than our
program has, and no sensors are read.
"""

import json
import sys
import time
from functools import partial

import mujoco
import numpy as np
from judo.controller import Controller, ControllerConfig
from judo.optimizers.ps import PredictiveSampling, PredictiveSamplingConfig
from judo.tasks.base import Task, TaskConfig


class Standing(Task):
    """Our robot, standing."""

    name, config_t = "standing", TaskConfig

    def __init__(self, path: str, timestep: float) -> None:  # the base class would load meshes from the network
        self.config = TaskConfig()
        self.spec = mujoco.MjSpec.from_file(path)
        self.model = self.spec.compile()
        self.model.opt.timestep = timestep
        self.data, self.model_path, self.sim_model = mujoco.MjData(self.model), path, self.model
        mujoco.mj_resetDataKeyframe(self.model, self.data, 0)

    def reward(self, states, sensors, controls, system_metadata=None):
        """Minus the cost of each rollout `(n,)`."""
        w, x, y, z = np.moveaxis(states[..., 3:7], -1, 0)
        heading = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
        cost = 5.0 * np.abs(states[..., 2] - 0.26) + 2.0 * (x * x + y * y) + 0.6 * np.abs(heading - 1.0)
        cost = cost + 0.6 * np.hypot(states[..., 0], states[..., 1]) + 10.0 * np.abs(states[..., 11] - 1.4)
        return -(cost + 0.02 * np.sum(controls**2, axis=-1)).sum(axis=-1)


def timed(work, times: int) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        work()
    return (time.perf_counter() - wall) / times, (time.process_time() - cpu) / times


def main() -> None:
    """Plans on request."""
    path, timestep, horizon, samples, knots = sys.argv[1], *map(float, sys.argv[2:6])
    task = Standing(path, timestep)
    optimizer = PredictiveSampling(
        PredictiveSamplingConfig(num_rollouts=int(samples), num_nodes=int(knots), sigma=0.2), task.nu
    )
    controller = Controller(ControllerConfig(horizon=horizon, spline_order="linear", control_freq=50), task, optimizer)
    controller.current_state = np.concatenate([task.data.qpos, task.data.qvel])
    print(json.dumps({"steps": int(controller.num_timesteps), "mujoco": mujoco.__version__}), flush=True)
    for line in sys.stdin:
        plan = timed(controller.update_action, int(line))
        words = (controller.current_state, controller.rollout_controls)
        raw = timed(partial(controller.rollout_backend.rollout, *words), int(line))
        print(json.dumps({"wall_s": plan[0], "cpu_s": plan[1], "raw_wall_s": raw[0], "raw_cpu_s": raw[1]}), flush=True)


if __name__ == "__main__":
    main()
