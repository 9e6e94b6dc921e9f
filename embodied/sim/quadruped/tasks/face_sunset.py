"""Quadruped: face sunset (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.quadruped.base import QuadrupedTask
from embodied.sim.task import HeldFor, Start

HEADING_RAD, HELD_S = np.deg2rad(15.0), 1.0


def reward(world, action):
    """Turn to the west, stand."""
    off = np.arctan2(np.sin(world.torso.heading - np.pi), np.cos(world.torso.heading - np.pi))
    return {
        "heading": -np.abs(off),
        "height": -5.0 * np.abs(world.torso.position[..., 2] - 0.26),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class FaceSunset(QuadrupedTask):
    """Face the west (-x) within 15 degrees for a second, from a start that looks elsewhere."""

    name = "quadruped/face_sunset"

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """Looking 60 to 180 degrees away from the west."""
        return self.turned(super().start(rng, n), rng.uniform(-2 * np.pi / 3, 2 * np.pi / 3, n))

    def success(self, world: World) -> np.ndarray:
        """The nose points west, and it is not on its back."""
        return (np.abs(world.quantity("torso.heading")) > np.pi - HEADING_RAD) & ~self.fell(world)

    def judge(self, n: int) -> HeldFor:
        """Held for a second."""
        return HeldFor(self, n, HELD_S)
