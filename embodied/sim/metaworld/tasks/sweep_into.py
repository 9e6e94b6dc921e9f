"""Sweep into: push a block over the table into a hole."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.reads import Frame

_HOLE = np.array([0.0, 0.84, 0.02])
_RESTING_M = 0.06993546  # height of the block once the package's reset has let it settle on the table


def reward(world, action):
    """Hold the block between the pads and bring it over the hole; 10 when it is there."""
    block = world.block.position
    to_goal = np.linalg.norm((block - world.goal.position)[..., :2], axis=-1)
    # The benchmark puts the target at the block's present height.
    target = np.concatenate([world.goal.position[..., :2], block[..., 2:]], axis=-1)
    in_place = long_tail(to_goal, 0.0, 0.05, np.linalg.norm(world.start.block - target, axis=-1))

    # The benchmark's margins follow the pads' present places.
    left, right = world.fingers.left_pad[..., 1] - block[..., 1], block[..., 1] - world.fingers.right_pad[..., 1]
    left_margin, right_margin = np.abs(np.abs(left) - 0.05), np.abs(np.abs(right) - 0.05)
    beside = both(long_tail(left, 0.02, 0.05, left_margin), long_tail(right, 0.02, 0.05, right_margin))
    touching = both(long_tail(left, 0.02, 0.025, left_margin), long_tail(right, 0.02, 0.025, right_margin))
    across = np.linalg.norm((world.fingers.center - block)[..., 0::2], axis=-1)
    first_across = np.linalg.norm((world.start.block - world.start.fingers)[..., 0::2], axis=-1)
    cage = both(beside, long_tail(across, 0.0, 0.01, first_across - 0.01))
    hold = 0.5 * (cage + np.where(cage > 0.95, touching, 0.0))

    there = to_goal < 0.05
    return {
        "hold": np.where(there, 0.0, 2.0 * hold),
        "hold_and_sweep": np.where(there, 0.0, 6.0 * both(hold, in_place)),
        "there": np.where(there, 10.0, 0.0),
    }


class SweepInto(MetaWorldTask):
    """The block shall be swept into the hole, to within 5 cm of its axis."""

    name, env_id, scalar_last = "metaworld/sweep-into", "sweep-into-v3", True
    quantities = {
        **hand_quantities(),
        Quantity("block.position", (3,), "m", "world", "centre of the block"): Frame("body", "obj"),
        Quantity("block.quaternion", (4,), "1", "world", "orientation of the block, w x y z"): Frame(
            "body", "obj", "quaternion"
        ),
        **start_quantity("start.block", "`block.position` at the start of the episode"),
        **goal_quantity("centre of the hole in the table, where the block shall be; its x and y count"),
    }
    objects = (("block.position", "block.quaternion"),)

    def accepts(self, draw: np.ndarray) -> np.ndarray:
        """The block is at least 15 cm from the hole's axis."""
        return np.linalg.norm(draw[:, :2] - _HOLE[:2], axis=-1) >= 0.15

    def layout(self, draw: np.ndarray) -> Layout:
        """The block lies at the first two numbers; the hole stays."""
        n = len(draw)
        block = np.column_stack([draw[:, :2], np.full(n, _RESTING_M)])
        return Layout(goal=np.tile(_HOLE, (n, 1)), joints={"objjoint": block}, parameters={"start.block": block})

    def success(self, world: World) -> np.ndarray:
        """The block is within 5 cm of the hole's axis."""
        return np.linalg.norm((world.block.position - world.goal.position)[..., :2], axis=-1) <= 0.05
