"""Manipulator: place an object upright (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.manipulator.base import BOX_HALF_M, ManipulatorTask
from embodied.sim.task import HeldFor

TILT_RAD, WITHIN_M, HELD_S = np.deg2rad(15.0), 0.02, 0.5


def reward(world, action):
    """The fingers around the box, the box upright on the table."""
    closed, there = 1.0 - world.fingers.set_openness, np.exp(-((world.box.distance_to_palm / 0.03) ** 2))
    off = np.arctan2(np.hypot(world.box.up[..., 0], world.box.up[..., 1]), world.box.up[..., 2])
    return {
        "upright": -2.0 * off,
        "height": -5.0 * np.abs(world.box.position[..., 2] - 0.05),
        "reach": -5.0 * world.box.distance_to_palm,
        "grip": 2.0 * there * closed - (1.0 - there) * closed,
        "approach": -(1.0 - there) * np.abs(world.palm.approach_axis[..., 2] + 1.0 - world.box.up[..., 2] ** 2),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class PlaceUpright(ManipulatorTask):
    """The box, which lies at the start, within 15 degrees of upright for half a second.

    It stands on the table: its centre is within 2 cm of the 5 cm at which it stands.
    """

    name = "manipulator/place_upright"
    box_lies = True

    def success(self, world: World) -> np.ndarray:
        """The box stands."""
        upright = world.quantity("box.up")[..., 2] > np.cos(TILT_RAD)
        return upright & (np.abs(world.quantity("box.position")[..., 2] - BOX_HALF_M[2]) < WITHIN_M)

    def judge(self, n: int) -> HeldFor:
        """Held for half a second."""
        return HeldFor(self, n, HELD_S)
