"""Hopper front flip: one of Text2Reward's locomotion behaviours. Also what the back flip shares."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from embodied.core.world import World
from embodied.sim.task import HeldFor
from embodied.sim.tasks.hopper import Hopper

TURN_RAD, LEAN_RAD, STANDING_M, HELD_S = 2.0 * np.pi, 0.5, 0.9, 0.08


def reward(world, action):
    """Jump, turn forward once, be upright again."""
    turned = np.clip(world.torso.pitch, -1.0, 6.2832)
    gained = turned - np.clip(world.previous.torso.pitch, -1.0, 6.2832)
    lean = np.abs(world.torso.pitch - 6.2832)
    landed = (lean < 0.5) & (world.torso.position_z > 0.9)
    return {
        "turning": 10.0 * gained,
        "turned": turned / 6.2832,
        "height": 0.5 * np.clip(world.torso.position_z, 0.0, 1.6),
        "landed": np.where(landed, 3.0, 0.0),
        "effort": -1e-3 * np.sum(action**2, axis=-1),
    }


class HopperFrontFlip(Hopper):
    """Turn over forward once, by 360 degrees, and be upright with the torso above 0.9 m for 0.08 s.

    Deviations from Gymnasium's Hopper: leaning and falling do not end the episode, and an action is held four times as
    long, 0.032 s (at 0.008 s PPO found no take-off in 2M and 2.5M steps with two written rewards: noise that changes
    125 times a second cancels out in the legs). The paper's authors judged films; the predicate is ours.
    """

    name = "hopper_front_flip"
    frame_skip = 16
    direction: ClassVar[float] = 1.0

    def success(self, world: World) -> np.ndarray:
        """One whole turn is behind it and it stands."""
        left = np.abs(self.direction * world.torso.pitch - TURN_RAD)
        return (left < LEAN_RAD) & (world.torso.position_z > STANDING_M)

    def judge(self, n: int) -> HeldFor:
        """Upright for a moment, not only in passing."""
        return HeldFor(self, n, HELD_S)

    def terminated(self, world: World) -> np.ndarray:
        """Only where the simulation runs away: any coordinate beyond 100."""
        bounded = (np.abs(world.coordinates) < 100).all(-1) & (np.abs(world.velocities) < 100).all(-1)
        return ~bounded
