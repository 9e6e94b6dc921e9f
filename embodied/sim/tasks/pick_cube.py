"""Pick cube: grasp a cube and bring it to a point in the air."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embodied.core.world import World
from embodied.sim.tabletop import ARM_OBSERVATION, ScriptedExpert
from embodied.sim.task import Start
from embodied.sim.tasks.lift_cube import GraspExpert, height_quantity, held
from embodied.sim.tasks.push_cube import CubeTask, cube_quantities, goal_quantities


def reward(world, action):
    """Bring the open jaws around the cube, close them on it, carry it to the goal."""
    distance = np.linalg.norm(world.gripper.to_cube, axis=-1)
    left = np.linalg.norm(world.cube.to_goal, axis=-1)
    closing = np.where(distance < 0.025, 1.0 - np.clip(world.gripper.jaw_angle, 0.0, 0.6) / 0.6, 0.0)
    held = (distance < 0.035) & (world.cube.height > 0.005)
    return {
        "near": 1.0 - np.tanh(10.0 * distance),
        "grasp": 0.5 * closing,
        "raised": np.where(held, 0.5 + 20.0 * np.clip(world.cube.height, 0.0, 0.03), 0.0),
        "carried": np.where(held, 4.0 * (1.0 - np.tanh(6.0 * left)), 0.0),
        "done": np.where(held & (left < 0.025), 2.0, 0.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


@dataclass(kw_only=True, eq=False, repr=False)
class PickCube(CubeTask):
    """The held cube's centre shall come within `tolerance_m` of a goal in the air.

    Args:
        tolerance_m: radius around the goal that counts as success [m].
        goal_low_m: lower corner of the goals' box (x, y, z) [m], world frame.
        goal_high_m: upper corner.

    The other arguments are those of `CubeTask`.
    """

    name = "pick_cube"
    quantities = {
        **cube_quantities(),
        **height_quantity(),
        **goal_quantities("where the cube's centre shall be, in the air"),
    }
    observation = (
        *ARM_OBSERVATION,
        "cube.position",
        "cube.quaternion",
        "cube.velocity",
        "gripper.to_cube",
        "goal.position",
        "cube.to_goal",
    )

    tolerance_m: float = 0.025
    goal_low_m: tuple[float, float, float] = (0.16, -0.10, 0.08)
    goal_high_m: tuple[float, float, float] = (0.26, 0.10, 0.18)

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """The cube lies somewhere in its area; the goal is anywhere in its box."""
        states, _ = self.place_cube(rng, n)
        goal = rng.uniform(self.goal_low_m, self.goal_high_m, (n, 3))
        return Start(states, {"goal.position": goal})

    def success(self, world: World) -> np.ndarray:
        """The cube is at the goal, between the jaws, moving with them and slower than 10 cm/s."""
        near = np.linalg.norm(world.cube.to_goal, axis=-1) < self.tolerance_m
        return near & held(world) & (np.linalg.norm(world.cube.velocity, axis=-1) < 0.10)

    def expert(self, n: int) -> ScriptedExpert:
        """Above the cube, down, close, to the goal."""
        return _Carry(self, n)


class _Carry(GraspExpert):
    def destination(self, world: World) -> np.ndarray:
        """The goal."""
        return world.quantity("goal.position")
