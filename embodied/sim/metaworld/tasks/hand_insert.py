"""Hand insert: put a puck into a hole in the table."""

from __future__ import annotations

import numpy as np

from embodied.sim.metaworld.shaping import both, caged, gripped, long_tail
from embodied.sim.metaworld.tasks.push import CUBE, PuckTask, puck_quantities


def reward(world, action):
    """Enclose the puck, close on it, bring it into the hole; 10 when it is there."""
    puck, goal = world.puck.position, world.goal.position
    left = np.linalg.norm(puck - goal, axis=-1)
    progress = long_tail(left, 0.0, 0.05, np.linalg.norm(world.start.puck - goal, axis=-1))
    cage = caged(world, puck, world.start.puck, 0.015, 0.05, 0.005)
    grasp = 0.5 * (cage + gripped(cage, action[..., 3], 1.0))
    held = (np.linalg.norm(puck - world.fingers.center, axis=-1) < 0.02) & (world.hand.openness > 0.0)
    there = left < 0.05
    return {
        "grasp_and_place": np.where(there, 0.0, both(grasp, progress)),
        "insert": np.where(held & ~there, 1.0 + 7.0 * progress, 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


class HandInsert(PuckTask):
    """The puck shall be brought into the hole, within 5 cm of the goal."""

    name, env_id, near_m, scalar_last = "metaworld/hand-insert", "hand-insert-v3", 0.05, False
    quantities = puck_quantities(CUBE, "where the puck shall be brought, in the hole, below the table's top")
