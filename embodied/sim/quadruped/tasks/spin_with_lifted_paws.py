"""Quadruped: spin with lifted paws (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.quadruped.base import QuadrupedTask
from embodied.sim.task import HeldFor

LIFTED_M, SPEED_RAD_S, HELD_S = 0.05, 0.3, 0.5


def reward(world, action):
    """Two paws up, turn."""
    paws = world.front_left_foot.position[..., 2], world.back_right_foot.position[..., 2]
    return {
        "paws": -5.0 * (np.abs(paws[0] - 0.1) + np.abs(paws[1] - 0.1)),
        "spin": -np.abs(world.torso.angular_velocity[..., 2] - 1.0),
        "height": -5.0 * np.abs(world.torso.position[..., 2] - 0.26),
        "flat": -np.abs(world.torso.pitch) - np.abs(world.torso.roll),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class SpinWithLiftedPaws(QuadrupedTask):
    """Front left and back right foot above 0.05 m while it turns faster than 0.3 rad/s, for half a second."""

    name = "quadruped/spin_with_lifted_paws"

    def success(self, world: World) -> np.ndarray:
        """Both paws are up and it turns."""
        feet = (world.quantity(f"{foot}_foot.position")[..., 2] for foot in ("front_left", "back_right"))
        lifted = np.logical_and(*(foot > LIFTED_M for foot in feet))
        turns = np.abs(world.quantity("torso.angular_velocity")[..., 2]) > SPEED_RAD_S
        return lifted & turns & ~self.fell(world)

    def judge(self, n: int) -> HeldFor:
        """Held for a while."""
        return HeldFor(self, n, HELD_S)
