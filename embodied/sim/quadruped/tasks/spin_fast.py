"""Quadruped: spin fast (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.quadruped.base import QuadrupedTask
from embodied.sim.task import HeldFor

SPEED_RAD_S, HELD_S = 1.0, 2.0


def reward(world, action):
    """Turn on the spot."""
    return {
        "spin": -np.abs(world.torso.angular_velocity[..., 2] - 3.0),
        "height": -5.0 * np.abs(world.torso.position[..., 2] - 0.26),
        "flat": -np.abs(world.torso.pitch) - np.abs(world.torso.roll),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class SpinFast(QuadrupedTask):
    """Turn about the vertical faster than 1 rad/s, either way, for two seconds, on its feet."""

    name = "quadruped/spin_fast"

    def success(self, world: World) -> np.ndarray:
        """It turns fast enough, and is not on its back."""
        return (np.abs(world.quantity("torso.angular_velocity")[..., 2]) > SPEED_RAD_S) & ~self.fell(world)

    def judge(self, n: int) -> HeldFor:
        """Held for a while."""
        return HeldFor(self, n, HELD_S)
