"""Pick place: pick up a puck and carry it to a place in the air."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import both, gripped, long_tail
from embodied.sim.reads import Frame


def reward(world, action):
    """Enclose the puck, grip it, lift it, bring it to the goal; 10 when it is there."""
    puck, left_pad, right_pad = world.puck.position, world.fingers.left_pad, world.fingers.right_pad
    to_goal = np.linalg.norm(puck - world.goal.position, axis=-1)
    first_to_goal = np.linalg.norm(world.start.puck - world.goal.position, axis=-1)
    in_place = long_tail(to_goal, 0.0, 0.05, first_to_goal)

    # The benchmark's margins follow the pads' present places.
    right_margin = np.abs(np.abs(puck[..., 1] - right_pad[..., 1]) - 0.05)
    left_margin = np.abs(np.abs(puck[..., 1] - left_pad[..., 1]) - 0.05)
    right = long_tail(puck[..., 1] - right_pad[..., 1], 0.015, 0.05, right_margin)
    left = long_tail(left_pad[..., 1] - puck[..., 1], 0.015, 0.05, left_margin)
    across = np.linalg.norm((world.fingers.center - puck)[..., 0::2], axis=-1)
    first_across = np.linalg.norm((world.start.puck - world.start.fingers)[..., 0::2], axis=-1)
    cage = both(both(left, right), long_tail(across, 0.0, 0.005, first_across - 0.005))
    grasp = 0.5 * (gripped(cage, action[..., 3], 1.0) + cage)

    near = np.linalg.norm(puck - world.fingers.center, axis=-1) < 0.02
    raised = near & (world.hand.openness > 0.0) & (puck[..., 2] - 0.01 > world.start.puck[..., 2])
    there = to_goal < 0.05
    return {
        "grasp_and_place": np.where(there, 0.0, both(grasp, in_place)),
        "raised": np.where(raised & ~there, 1.0 + 5.0 * in_place, 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


class PickPlace(MetaWorldTask):
    """The puck shall be brought to the goal, which is above the table."""

    name, env_id, scalar_last = "metaworld/pick-place", "pick-place-v3", True
    quantities = {
        **hand_quantities(),
        Quantity("puck.position", (3,), "m", "world", "centre of the puck"): Frame("body", "obj"),
        Quantity("puck.quaternion", (4,), "1", "world", "orientation of the puck, w x y z"): Frame(
            "geom", "objGeom", "quaternion"
        ),
        **start_quantity("start.puck", "`puck.position` at the start of the episode"),
        **goal_quantity("where the puck shall be brought"),
    }
    objects = (("puck.position", "puck.quaternion"),)

    def accepts(self, draw: np.ndarray) -> np.ndarray:
        """Puck and goal are at least 15 cm apart in the plane."""
        return np.linalg.norm(draw[:, :2] - draw[:, 3:5], axis=-1) >= 0.15

    def layout(self, draw: np.ndarray) -> Layout:
        """The puck lies at the first three numbers, the goal is at the others."""
        upright = np.tile([1.0, 0.0, 0.0, 0.0], (len(draw), 1))
        puck = np.concatenate([draw[:, :3], upright], axis=-1)
        return Layout(goal=draw[:, 3:], joints={"objjoint": puck}, parameters={"start.puck": draw[:, :3]})

    def success(self, world: World) -> np.ndarray:
        """The puck is within 7 cm of the goal."""
        return np.linalg.norm(world.puck.position - world.goal.position, axis=-1) <= 0.07
