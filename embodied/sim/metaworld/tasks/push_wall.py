"""Push wall: bring a puck around a wall to a place on the table."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.sim.metaworld.shaping import caged, gripped, long_tail
from embodied.sim.metaworld.tasks.push import PUCK, PuckTask, puck_quantities
from embodied.sim.reads import Frame

WALL = {
    Quantity("wall.position", (3,), "m", "world", "centre of the wall: 24 cm along x, 2 cm along y, 12 cm high"): Frame(
        "body", "wall"
    ),
}


def reward(world, action):
    """Enclose the puck, close on it, bring it past the wall's end, then to the goal; 10 when it is there."""
    puck, goal, start = world.puck.position, world.goal.position, world.start.puck
    left = np.linalg.norm(puck - goal, axis=-1)
    to_goal = long_tail(left, 0.0, 0.05, np.linalg.norm(start - goal, axis=-1))

    # The way leads beside the wall at the puck's present height; x counts three times.
    scale, beside = np.array([3.0, 1.0, 1.0]), np.array([-0.05, 0.77, 0.0])
    aside = beside + puck * np.array([0.0, 0.0, 1.0])
    first_aside = np.linalg.norm((start - aside) * scale, axis=-1)
    to_aside = long_tail(np.linalg.norm((puck - aside) * scale, axis=-1), 0.0, 0.05, first_aside)

    cage = caged(world, puck, start, 0.015, 0.05, 0.005)
    held = (np.linalg.norm(puck - world.fingers.center, axis=-1) < 0.02) & (world.hand.openness > 0.0)
    there, past = left < 0.05, puck[..., 1] > 0.75
    return {
        "grasp": np.where(there, 0.0, cage + gripped(cage, action[..., 3], 1.0)),
        "around_the_wall": np.where(held & ~there, 1.0 + 4.0 * np.where(past, 1.0, to_aside), 0.0),
        "to_the_goal": np.where(held & ~there & past, 3.0 * to_goal, 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


class PushWall(PuckTask):
    """The puck shall be brought to the goal behind the wall, within 7 cm."""

    name, env_id, height = "metaworld/push-wall", "push-wall-v3", 0.01940468  # as in push
    quantities = {**puck_quantities(PUCK, "where the puck shall be brought, on the table behind the wall"), **WALL}
