"""Manipulator: flip an object (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.manipulator.base import ManipulatorTask
from embodied.sim.task import HeldFor

TILT_RAD, HELD_S = np.deg2rad(20.0), 0.5


def reward(world, action):
    """The fingers around the box, the box upside down."""
    closed, there = 1.0 - world.fingers.set_openness, np.exp(-((world.box.distance_to_palm / 0.03) ** 2))
    off = np.arctan2(np.hypot(world.box.up[..., 0], world.box.up[..., 1]), -world.box.up[..., 2])
    return {
        "over": -2.0 * off,
        "height": -5.0 * np.abs(world.box.position[..., 2] - 0.2),
        "reach": -5.0 * world.box.distance_to_palm,
        "grip": 2.0 * there * closed - (1.0 - there) * closed,
        "approach": -(1.0 - there) * np.abs(world.palm.approach_axis[..., 2] + 1.0 - world.box.up[..., 2] ** 2),
        "level": -(1.0 - there) * np.abs(world.palm.closing_axis[..., 2]),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class Flip(ManipulatorTask):
    """The box, which stands at the start, within 20 degrees of upside down for half a second, in the hand or not."""

    name = "manipulator/flip"

    def success(self, world: World) -> np.ndarray:
        """The box is upside down."""
        return world.quantity("box.up")[..., 2] < -np.cos(TILT_RAD)

    def judge(self, n: int) -> HeldFor:
        """Held for half a second."""
        return HeldFor(self, n, HELD_S)
