"""Sweep: push a block sideways over the table."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.reads import Frame


def reward(world, action):
    """Hold the block between the pads and bring it to the goal; 10 when it is there."""
    block = world.block.position
    to_goal = np.linalg.norm(block - world.goal.position, axis=-1)
    in_place = long_tail(to_goal, 0.0, 0.05, np.linalg.norm(world.start.block - world.goal.position, axis=-1))

    # The benchmark's margins follow the pads' present places.
    left, right = world.fingers.left_pad[..., 1] - block[..., 1], block[..., 1] - world.fingers.right_pad[..., 1]
    left_margin, right_margin = np.abs(np.abs(left) - 0.05), np.abs(np.abs(right) - 0.05)
    beside = both(long_tail(left, 0.02, 0.05, left_margin), long_tail(right, 0.02, 0.05, right_margin))
    touching = both(long_tail(left, 0.02, 0.03, left_margin), long_tail(right, 0.02, 0.03, right_margin))
    across = np.linalg.norm((world.fingers.center - block)[..., 0::2], axis=-1)
    first_across = np.linalg.norm((world.start.block - world.start.fingers)[..., 0::2], axis=-1)
    cage = both(beside, long_tail(across, 0.0, 0.005, first_across - 0.005))
    hold = 0.5 * (cage + np.where(cage > 0.95, touching, 0.0))

    there = to_goal < 0.05
    return {
        "hold": np.where(there, 0.0, 2.0 * hold),
        "hold_and_sweep": np.where(there, 0.0, 6.0 * both(hold, in_place)),
        "there": np.where(there, 10.0, 0.0),
    }


class Sweep(MetaWorldTask):
    """The block shall be swept to within 5 cm of the goal, about half a metre to its right."""

    name, env_id = "metaworld/sweep", "sweep-v3"
    quantities = {
        **hand_quantities(),
        Quantity("block.position", (3,), "m", "world", "centre of the block's lower face"): Frame("body", "obj"),
        Quantity("block.quaternion", (4,), "1", "world", "orientation of the block, w x y z"): Frame(
            "body", "obj", "quaternion"
        ),
        **start_quantity("start.block", "`block.position` at the start of the episode"),
        **goal_quantity("where the block shall be swept"),
    }
    objects = (("block.position", "block.quaternion"),)

    def layout(self, draw: np.ndarray) -> Layout:
        """The block lies where it was drawn, the goal is beside it."""
        n = len(draw)
        goal = np.column_stack([np.full(n, 0.5), draw[:, 1], np.full(n, 0.01)])
        return Layout(goal=goal, joints={"obj": draw}, parameters={"start.block": draw})

    def success(self, world: World) -> np.ndarray:
        """The block is within 5 cm of the goal."""
        return np.linalg.norm(world.block.position - world.goal.position, axis=-1) <= 0.05
