"""Quadruped: roll over (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.quadruped.base import QuadrupedTask
from embodied.sim.task import HeldFor

OVER_RAD, HELD_S = np.deg2rad(20.0), 0.5


def reward(world, action):
    """Turn the torso upside down, low."""
    return {
        "over": -np.arccos(np.clip(-world.torso.up[..., 2], -1.0, 1.0)),
        "low": -np.abs(world.torso.position[..., 2] - 0.1),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class RollOver(QuadrupedTask):
    """The torso's own z axis within 20 degrees of straight down for half a second."""

    name = "quadruped/roll_over"

    def success(self, world: World) -> np.ndarray:
        """It lies on its back."""
        return world.quantity("torso.up")[..., 2] < -np.cos(OVER_RAD)

    def judge(self, n: int) -> HeldFor:
        """Held for a while."""
        return HeldFor(self, n, HELD_S)
