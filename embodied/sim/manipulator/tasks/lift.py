"""Manipulator: lift an object to half a metre (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.manipulator.base import ManipulatorTask
from embodied.sim.task import HeldFor

HEIGHT_M, WITHIN_M, HELD_S = 0.5, 0.05, 0.5


def reward(world, action):
    """The fingers around the apple, the apple at its height."""
    closed, there = 1.0 - world.fingers.set_openness, np.exp(-((world.apple.distance_to_palm / 0.03) ** 2))
    return {
        "height": -10.0 * np.abs(world.apple.position[..., 2] - 0.5),
        "reach": -5.0 * world.apple.distance_to_palm,
        "grip": 2.0 * there * closed - (1.0 - there) * closed,
        "approach": -np.abs(world.palm.approach_axis[..., 2] + 1.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class Lift(ManipulatorTask):
    """The apple's centre 0.5 m above the table's top within 5 cm, for half a second."""

    name = "manipulator/lift"

    def success(self, world: World) -> np.ndarray:
        """The apple is at its height."""
        return np.abs(world.quantity("apple.position")[..., 2] - HEIGHT_M) < WITHIN_M

    def judge(self, n: int) -> HeldFor:
        """Held for half a second."""
        return HeldFor(self, n, HELD_S)
