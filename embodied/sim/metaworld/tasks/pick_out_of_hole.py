"""Pick out of hole: lift a puck out of a hole and carry it to a place in the air."""

from __future__ import annotations

import numpy as np

from embodied.sim.metaworld.shaping import both, caged, gripped, long_tail
from embodied.sim.metaworld.tasks.push import PUCK, PuckTask, puck_quantities


def reward(world, action):
    """Enclose the puck, grip it, bring it to the goal with the hand clear of the hole's edge; 10 when it is there."""
    puck, goal, fingers = world.puck.position, world.goal.position, world.fingers.center
    left = np.linalg.norm(puck - goal, axis=-1)
    progress = long_tail(left, 0.0, 0.02, np.linalg.norm(world.start.puck - goal, axis=-1))
    cage = caged(world, puck, world.start.puck, 0.015, 0.02, 0.03)
    grasp = 0.5 * (cage + gripped(cage, action[..., 3], 0.1))

    # The fingers shall stay in a funnel: free to go down within 3 cm of the hole's middle, the higher the farther off.
    outside = np.linalg.norm((fingers - world.start.puck)[..., :2], axis=-1) - 0.03
    floor = np.where(outside > 0.0, 0.15 + 0.015 * np.log(np.where(outside > 0.0, outside, 1.0)), 0.0)
    clear = long_tail(np.maximum(floor - fingers[..., 2], 0.0), 0.0, 0.01, 0.02)

    raised = puck[..., 2] - 0.02 > world.start.puck[..., 2]
    held = (np.linalg.norm(puck - fingers, axis=-1) < 0.04) & (world.hand.openness >= 0.33)
    there = left < 0.05
    return {
        "grasp_and_place": np.where(there, 0.0, both(grasp, progress)),
        "raised": np.where(held & raised & ~there, 1.0 + 5.0 * both(progress, clear), 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


class PickOutOfHole(PuckTask):
    """The puck shall be lifted out of its hole and brought within 7 cm of the goal, which is above the table."""

    name, env_id, scalar_last = "metaworld/pick-out-of-hole", "pick-out-of-hole-v3", False
    quantities = puck_quantities(PUCK, "where the puck shall be brought, in the air")
