"""Shelf place: put a block on a shelf."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import both, caged, gripped, long_tail
from embodied.sim.reads import Frame


def reward(world, action):
    """Enclose the block, grip it, lift it before the shelf and bring it to the goal; 10 when it is there."""
    block, goal, start = world.block.position, world.goal.position, world.start.block
    left = np.linalg.norm(block - goal, axis=-1)
    progress = long_tail(left, 0.0, 0.05, np.linalg.norm(start - goal, axis=-1))
    grasp = gripped(caged(world, block, start, 0.02, 0.05, 0.01), action[..., 3], 1.0)

    # Below the board, the way to the goal counts less the nearer to the shelf and the lower; under it not at all.
    behind, height = block[..., 1] - goal[..., 1], block[..., 2]
    below = (height > 0.0) & (height < 0.24) & (np.abs(block[..., 0] - goal[..., 0]) < 0.15)
    before = below & (behind > -0.15) & (behind < 0.0)
    loss = both(np.clip(behind / 0.15 + 1.0, 0.0, 1.0), np.clip(1.0 - height / 0.24, 0.0, 1.0))
    way = np.where(before, np.maximum(progress - loss, 0.0), np.where(below & (behind > 0.0), 0.0, progress))

    near = np.linalg.norm(block - world.fingers.center, axis=-1) < 0.025
    held = near & (world.hand.openness > 0.0) & (height - 0.01 > start[..., 2])
    there = left < 0.05
    return {
        "grasp_and_place": np.where(there, 0.0, both(grasp, progress)),
        "held": np.where(held & ~there, 1.0 + 5.0 * way, 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


class ShelfPlace(MetaWorldTask):
    """The block shall be brought to within 7 cm of the goal, which is 5 cm above the shelf's middle board."""

    name, env_id, scalar_last, moved_body = "metaworld/shelf-place", "shelf-place-v3", True, "shelf"
    quantities = {
        **hand_quantities(),
        Quantity("block.position", (3,), "m", "world", "centre of the block, whose edges are 4 cm"): Frame(
            "body", "obj"
        ),
        Quantity("block.quaternion", (4,), "1", "world", "orientation of the block, w x y z"): Frame(
            "body", "obj", "quaternion"
        ),
        **start_quantity("start.block", "`block.position` at the start of the episode"),
        **goal_quantity("where the block shall be put, 5 cm above the shelf's middle board"),
    }
    objects = (("block.position", "block.quaternion"),)

    def accepts(self, draw: np.ndarray) -> np.ndarray:
        """Block and goal are at least 10 cm apart in the plane."""
        return np.linalg.norm(draw[:, :2] - draw[:, 3:5], axis=-1) >= 0.1

    def layout(self, draw: np.ndarray) -> Layout:
        """The block lies on the table at the first two numbers; the goal, in the shelf, is at the last three."""
        block, goal = draw[:, :3].copy(), draw[:, 3:]
        block[:, 2] = 0.019936047  # height at which it comes to rest
        shelf = goal - np.array([0.0, 0.0, 0.3])
        return Layout(goal=goal, body=shelf, joints={"objjoint": block}, parameters={"start.block": block})

    def success(self, world: World) -> np.ndarray:
        """The block is within 7 cm of the goal."""
        return np.linalg.norm(world.block.position - world.goal.position, axis=-1) <= 0.07
