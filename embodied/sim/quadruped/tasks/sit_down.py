"""Quadruped: sit down (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.quadruped.base import QuadrupedTask
from embodied.sim.task import HeldFor

LOW_M, FLAT_RAD, HELD_S = 0.16, np.deg2rad(10.0), 1.0


def reward(world, action):
    """Lower the torso, keep it flat and still."""
    return {
        "height": -5.0 * np.abs(world.torso.position[..., 2] - 0.12),
        "flat": -np.abs(world.torso.pitch) - np.abs(world.torso.roll),
        "still": -0.1 * np.linalg.norm(world.torso.velocity, axis=-1),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class SitDown(QuadrupedTask):
    """Torso below 0.16 m, pitch and roll within 10 degrees, for a second (standing is 0.26 m)."""

    name = "quadruped/sit_down"

    def success(self, world: World) -> np.ndarray:
        """Low and flat."""
        low = world.quantity("torso.position")[..., 2] < LOW_M
        tilts = (np.abs(world.quantity(f"torso.{angle}")) for angle in ("pitch", "roll"))
        return low & np.logical_and(*(tilt < FLAT_RAD for tilt in tilts))

    def judge(self, n: int) -> HeldFor:
        """Held for a second."""
        return HeldFor(self, n, HELD_S)
