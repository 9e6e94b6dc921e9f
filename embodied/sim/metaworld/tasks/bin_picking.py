"""Bin picking: carry a cube from one bin into another."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import both, caged, gripped, long_tail
from embodied.sim.metaworld.tasks.hammer import SettlingTask
from embodied.sim.reads import Frame


def reward(world, action):
    """Enclose the cube, grip it, carry it clear of the bins' edges into the other bin; 10 when it is there."""
    cube, goal, start, hand = world.cube.position, world.goal.position, world.start.cube, world.hand.position
    left = np.linalg.norm(cube - goal, axis=-1)
    progress = long_tail(left, 0.0, 0.05, np.linalg.norm(start - goal, axis=-1))
    cage = caged(world, cube, start, 0.015, 0.05, 0.01)
    grasp = 0.5 * (cage + gripped(cage, action[..., 3], 0.7))

    # The hand may be low within 3 cm of the cube's first place and of the goal; the farther off, the higher.
    floors = []
    for place in (start, goal):
        outside = np.linalg.norm((hand - place)[..., :2], axis=-1) - 0.03
        floors.append(np.where(outside > 0.0, 0.2 + 0.02 * np.log(np.where(outside > 0.0, outside, 1.0)), 0.0))
    clear = long_tail(np.maximum(np.minimum(floors[0], floors[1]) - hand[..., 2], 0.0), 0.0, 0.01, 0.05)

    near = np.linalg.norm(cube - hand, axis=-1) < 0.04
    held = near & (world.hand.openness >= 0.43) & (cube[..., 2] - 0.02 > start[..., 2])
    there = left < 0.05
    return {
        "grasp_and_carry": np.where(there, 0.0, both(grasp, progress)),
        "held": np.where(held & ~there, 1.0 + 5.0 * both(clear, progress), 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


class BinPicking(SettlingTask):
    """The cube shall be brought from the left bin into the right one, to within 5 cm of the middle of its bottom."""

    name, env_id = "metaworld/bin-picking", "bin-picking-v3"
    quantities = {
        **hand_quantities(),
        Quantity("cube.position", (3,), "m", "world", "centre of the cube, whose edges are 4 cm"): Frame("body", "obj"),
        Quantity("cube.quaternion", (4,), "1", "world", "orientation of the cube, w x y z"): Frame(
            "body", "obj", "quaternion"
        ),
        **start_quantity("start.cube", "`cube.position` at the start of the episode, in the left bin"),
        **goal_quantity("middle of the right bin, at the table's height; the cube shall be there"),
    }
    objects = (("cube.position", "cube.quaternion"),)

    def layout(self, draw: np.ndarray) -> Layout:
        """The cube lies on the left bin's bottom at the first two numbers; the bins stay."""
        cube = draw[:, :3].copy()
        cube[:, 2] = 0.0299951  # height at which it comes to rest
        goal = np.tile([0.12, 0.7, 0.0], (len(draw), 1))
        return Layout(goal=goal, joints={"obj": cube}, parameters={"start.cube": cube})

    def success(self, world: World) -> np.ndarray:
        """The cube is within 5 cm of the goal."""
        return np.linalg.norm(world.cube.position - world.goal.position, axis=-1) <= 0.05
