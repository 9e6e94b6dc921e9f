"""Quadruped: stand on two feet (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.quadruped.base import QuadrupedTask
from embodied.sim.task import HeldFor

HEIGHT_M, PITCH_RAD, PAWS_M, HELD_S = 0.4, np.deg2rad(55.0), 0.3, 1.0


def reward(world, action):
    """Rear up."""
    return {
        "pitch": -np.abs(world.torso.pitch - 1.4),
        "height": -5.0 * np.abs(world.torso.position[..., 2] - 0.5),
        "roll": -np.abs(world.torso.roll),
        "still": -0.2 * np.linalg.norm(world.torso.velocity, axis=-1),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class StandOnTwoFeet(QuadrupedTask):
    """Torso above 0.4 m, nose up by 55 degrees or more, both front feet above 0.3 m, for a second."""

    name = "quadruped/stand_on_two_feet"

    def success(self, world: World) -> np.ndarray:
        """It stands on its back feet."""
        high = world.quantity("torso.position")[..., 2] > HEIGHT_M
        paws = [world.quantity(f"{foot}_foot.position")[..., 2] > PAWS_M for foot in ("front_left", "front_right")]
        return high & (world.quantity("torso.pitch") > PITCH_RAD) & paws[0] & paws[1]

    def judge(self, n: int) -> HeldFor:
        """Held for a second."""
        return HeldFor(self, n, HELD_S)
