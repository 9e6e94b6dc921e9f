"""Pick place wall: carry a puck over a wall to a place in the air."""

from __future__ import annotations

import numpy as np

from embodied.sim.metaworld.shaping import both, caged, gripped, long_tail
from embodied.sim.metaworld.tasks.push import PUCK, PuckTask, puck_quantities
from embodied.sim.metaworld.tasks.push_wall import WALL


def reward(world, action):
    """Enclose the puck, grip it, lift it over the wall, bring it to the goal; 10 when it is there."""
    puck, goal, start = world.puck.position, world.goal.position, world.start.puck
    left = np.linalg.norm(puck - goal, axis=-1)
    to_goal = long_tail(left, 0.0, 0.05, np.linalg.norm(start - goal, axis=-1))

    # The way leads through a point 25 cm above the table, just behind the wall; z counts three times.
    above = goal * np.array([1.0, 0.0, 0.0]) + np.array([0.0, 0.77, 0.25])
    scale = np.array([1.0, 1.0, 3.0])
    first_above = np.linalg.norm((start - above) * scale, axis=-1)
    to_above = long_tail(np.linalg.norm((puck - above) * scale, axis=-1), 0.0, 0.05, first_above)

    grasp = gripped(caged(world, puck, start, 0.015, 0.05, 0.005), action[..., 3], 1.0)
    near = np.linalg.norm(puck - world.fingers.center, axis=-1) < 0.02
    held = near & (world.hand.openness > 0.0) & (puck[..., 2] - 0.015 > start[..., 2])
    there, past = left < 0.05, puck[..., 1] > 0.75
    return {
        "grasp_and_lift": np.where(there, 0.0, both(grasp, to_above)),
        "over_the_wall": np.where(held & ~there, 1.0 + 4.0 * np.where(past, 1.0, to_above), 0.0),
        "to_the_goal": np.where(held & ~there & past, 3.0 * to_goal, 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


class PickPlaceWall(PuckTask):
    """The puck shall be brought over the wall to within 7 cm of the goal, which is above the table."""

    name, env_id = "metaworld/pick-place-wall", "pick-place-wall-v3"
    quantities = {**puck_quantities(PUCK, "where the puck shall be brought, in the air behind the wall"), **WALL}
