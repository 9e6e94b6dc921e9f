"""Manipulator: move one object to another (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.manipulator.base import ManipulatorTask
from embodied.sim.task import HeldFor

WITHIN_M, HELD_S = 0.05, 0.5


def reward(world, action):
    """The fingers around the apple, the apple at the box."""
    closed, there = 1.0 - world.fingers.set_openness, np.exp(-((world.apple.distance_to_palm / 0.03) ** 2))
    return {
        "together": -5.0 * world.apple.distance_to_box,
        "reach": -5.0 * world.apple.distance_to_palm,
        "grip": 2.0 * there * closed - (1.0 - there) * closed,
        "approach": -np.abs(world.palm.approach_axis[..., 2] + 1.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class MoveTo(ManipulatorTask):
    """The apple's centre within 5 cm of the box's surface for half a second; they begin 15 cm or more apart."""

    name = "manipulator/move_to"
    apple_place = (0.5, 0.16, 0.03, 0.02)
    box_place = (0.5, -0.12, 0.03, 0.02)

    def success(self, world: World) -> np.ndarray:
        """The apple is at the box."""
        return self.apple_to_box(world) < WITHIN_M

    def judge(self, n: int) -> HeldFor:
        """Held for half a second."""
        return HeldFor(self, n, HELD_S)
