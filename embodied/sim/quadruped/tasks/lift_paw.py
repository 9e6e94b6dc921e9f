"""Quadruped: lift paw (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.quadruped.base import QuadrupedTask
from embodied.sim.task import HeldFor

LIFTED_M, HELD_S = 0.08, 1.0


def reward(world, action):
    """One foot up, the torso where it was."""
    return {
        "paw": -5.0 * np.abs(world.front_right_foot.position[..., 2] - 0.15),
        "height": -5.0 * np.abs(world.torso.position[..., 2] - 0.26),
        "flat": -np.abs(world.torso.pitch) - np.abs(world.torso.roll),
        "still": -0.2 * np.linalg.norm(world.torso.velocity, axis=-1),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class LiftPaw(QuadrupedTask):
    """The front right foot above 0.08 m for a second while the torso stands (0.18 m or more, upright)."""

    name = "quadruped/lift_paw"
    lifted_m = LIFTED_M

    def success(self, world: World) -> np.ndarray:
        """The paw is up and the robot stands."""
        lifted = world.quantity("front_right_foot.position")[..., 2] > self.lifted_m
        return lifted & self.stands(world)

    def judge(self, n: int) -> HeldFor:
        """Held for a second."""
        return HeldFor(self, n, HELD_S)
