"""Plate slide side: push a puck sideways into a shelf."""

from __future__ import annotations

import numpy as np

from embodied.sim.metaworld.shaping import long_tail
from embodied.sim.metaworld.tasks.plate_slide import PlateSlide, puck_quantities


def reward(world, action):
    """Reach the puck; with the fingers low and at the puck, slide it to the goal; 10 when it is there."""
    puck, goal, origin = world.puck.position, world.goal.position, world.start.origin
    to_goal = np.linalg.norm(puck - goal, axis=-1)
    in_place = long_tail(to_goal, 0.0, 0.05, np.linalg.norm(origin - goal, axis=-1) - 0.05)
    to_puck = np.linalg.norm(world.fingers.center - puck, axis=-1)
    near = long_tail(to_puck, 0.0, 0.05, np.linalg.norm(origin - world.start.fingers, axis=-1) - 0.05)
    there = to_goal < 0.05
    holds = (world.fingers.center[..., 2] <= 0.03) & (to_puck < 0.07) & ~there
    return {
        "near": np.where(there | holds, 0.0, 1.5 * near),
        "at_puck": np.where(holds, 2.0, 0.0),
        "in_place": np.where(holds, 7.0 * in_place, 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


class PlateSlideSide(PlateSlide):
    """The puck shall be pushed to the left into the shelf, to within 7 cm of the goal in it."""

    name, env_id, moved_body = "metaworld/plate-slide-side", "plate-slide-side-v3", None
    quantities = puck_quantities(
        "where the puck starts, on the table's surface",
        "where the puck shall be, in the shelf at the left (which stays at x = -0.3, y = 0.6)",
    )
