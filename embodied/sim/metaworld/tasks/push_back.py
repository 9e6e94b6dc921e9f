"""Push back: bring a puck on the table back towards the robot."""

from __future__ import annotations

import numpy as np

from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.metaworld.tasks.push import CUBE, PuckTask, puck_quantities


def reward(world, action):
    """Enclose the puck, hold it tight, bring it to the goal; 10 when it is there."""
    puck, goal = world.puck.position, world.goal.position
    left, first_left = np.linalg.norm(puck - goal, axis=-1), np.linalg.norm(world.start.puck - goal, axis=-1)
    progress = long_tail(left, 0.0, 0.05, first_left)

    # Each pad shall be beside the puck; the benchmark's margins follow the pads' present places.
    right_gap = puck[..., 1] - world.fingers.right_pad[..., 1]
    left_gap = world.fingers.left_pad[..., 1] - puck[..., 1]
    right_margin, left_margin = np.abs(np.abs(right_gap) - 0.05), np.abs(np.abs(left_gap) - 0.05)
    beside = both(long_tail(right_gap, 0.007, 0.05, right_margin), long_tail(left_gap, 0.007, 0.05, left_margin))
    tight = both(long_tail(right_gap, 0.007, 0.01, right_margin), long_tail(left_gap, 0.007, 0.01, left_margin))
    across = np.linalg.norm((world.fingers.center - puck)[..., 0::2], axis=-1)
    first_across = np.linalg.norm((world.start.puck - world.start.fingers)[..., 0::2], axis=-1)
    cage = both(beside, long_tail(across, 0.0, 0.01, first_across - 0.01))
    grasp = 0.5 * (cage + np.where(cage > 0.95, tight, 0.0))

    near = np.linalg.norm(puck - world.fingers.center, axis=-1) < 0.01
    held = near & (world.hand.openness > 0.0) & (world.hand.openness < 0.55)
    there = left < 0.05
    return {
        "grasp_and_place": np.where(there, 0.0, both(grasp, progress)),
        "pull": np.where(held & (first_left - left > 0.01) & ~there, 1.0 + 5.0 * progress, 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


class PushBack(PuckTask):
    """The puck shall be brought back to the goal on the table, within 7 cm."""

    name, env_id = "metaworld/push-back", "push-back-v3"
    height = 0.01993605  # that of the puck when it has come to rest
    quantities = puck_quantities(CUBE, "where the puck shall be brought, on the table, nearer to the robot")
