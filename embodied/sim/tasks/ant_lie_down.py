"""Ant lie down: one of Text2Reward's locomotion behaviours."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.task import HeldFor
from embodied.sim.tasks.ant import Ant

LOW_M, HELD_S = 0.3, 1.0


def reward(world, action):
    """Lower the torso, lie still."""
    height = world.torso.position[..., 2]
    speed = np.linalg.norm(world.torso.velocity, axis=-1)
    return {
        "low": 1.0 - np.tanh(4.0 * np.maximum(height - 0.28, 0.0)),
        "down": np.where(height < 0.3, 1.0, 0.0),
        "still": 0.3 * (1.0 - np.tanh(speed)),
        "effort": -0.05 * np.sum(action**2, axis=-1),
    }


class AntLieDown(Ant):
    """Keep the torso's centre below 0.3 m for one second.

    Deviation from Gymnasium's Ant: no height ends the episode.
    """

    name = "ant_lie_down"

    def success(self, world: World) -> np.ndarray:
        """The torso is low."""
        return world.torso.position[..., 2] < LOW_M

    def judge(self, n: int) -> HeldFor:
        """Low for a second."""
        return HeldFor(self, n, HELD_S)

    def terminated(self, world: World) -> np.ndarray:
        """Only where the simulation runs away: any coordinate beyond 100."""
        return ~((np.abs(world.coordinates) < 100).all(-1) & (np.abs(world.velocities) < 1000).all(-1))
