"""Quadruped: lift a paw, then higher (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.sim.quadruped.tasks.lift_paw import LiftPaw


def reward(world, action):
    """One foot high up, the torso where it was."""
    return {
        "paw": -5.0 * np.abs(world.front_right_foot.position[..., 2] - 0.3),
        "height": -5.0 * np.abs(world.torso.position[..., 2] - 0.26),
        "flat": -np.abs(world.torso.pitch) - np.abs(world.torso.roll),
        "still": -0.2 * np.linalg.norm(world.torso.velocity, axis=-1),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class LiftPawHigher(LiftPaw):
    """The front right foot above 0.2 m for a second while the torso stands."""

    name = "quadruped/lift_paw_higher"
    lifted_m = 0.2
