"""Manipulator: lift two objects together (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.manipulator.base import APPLE_RADIUS_M, ManipulatorTask
from embodied.sim.task import HeldFor

LIFTED_M, HELD_S = 0.1, 0.5


def reward(world, action):
    """The fingers around apple and box, both high."""
    middle = 0.5 * (world.apple.position + world.box.position)
    away = np.linalg.norm(world.palm.position - middle, axis=-1)
    closed, there = 1.0 - world.fingers.set_openness, np.exp(-((away / 0.03) ** 2))
    return {
        "apple": -10.0 * np.abs(world.apple.position[..., 2] - 0.25),
        "box": -10.0 * np.abs(world.box.position[..., 2] - 0.25),
        "together": -5.0 * world.apple.distance_to_box,
        "reach": -5.0 * away,
        "grip": 2.0 * there * closed - (1.0 - there) * closed,
        "approach": -np.abs(world.palm.approach_axis[..., 2] + 1.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class LiftBoth(ManipulatorTask):
    """Apple and box both 10 cm or more above the table, at their lowest points, for half a second.

    They begin side by side: the open fingers fit around the two.
    """

    name = "manipulator/lift_both"
    apple_place = (0.5, 0.035, 0.01, 0.005)
    box_place = (0.5, -0.035, 0.01, 0.005)

    def success(self, world: World) -> np.ndarray:
        """Both are off the table."""
        apple = world.quantity("apple.position")[..., 2] - APPLE_RADIUS_M
        return (apple > LIFTED_M) & (self.box_bottom(world) > LIFTED_M)

    def judge(self, n: int) -> HeldFor:
        """Held for half a second."""
        return HeldFor(self, n, HELD_S)
