"""Manipulator: touch an object (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.manipulator.base import ManipulatorTask

NEAR_M = 0.03


def reward(world, action):
    """The palm at the apple, fingers pointing down."""
    return {
        "touch": -5.0 * world.apple.distance_to_palm,
        "approach": -np.abs(world.palm.approach_axis[..., 2] + 1.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class Touch(ManipulatorTask):
    """The palm within 3 cm of the apple's centre (the apple's radius is 2.5 cm)."""

    name = "manipulator/touch"

    def success(self, world: World) -> np.ndarray:
        """The apple lies between the fingertips."""
        return world.quantity("apple.distance_to_palm") < NEAR_M
