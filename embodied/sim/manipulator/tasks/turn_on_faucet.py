"""Manipulator: turn on the faucet (one of the 17 tasks of Language to Rewards, arXiv:2306.08647)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.manipulator.base import ManipulatorTask

ON_FRACTION = 0.8


def reward(world, action):
    """The fingers around the lever's grip, the lever turned."""
    away = np.linalg.norm(world.palm.position - world.faucet.handle_position, axis=-1)
    closed, there = 1.0 - world.fingers.set_openness, np.exp(-((away / 0.03) ** 2))
    return {
        "turn": 5.0 * world.faucet.angle_fraction,
        "reach": -5.0 * away,
        "grip": 2.0 * there * closed - (1.0 - there) * closed,
        "approach": -np.abs(world.palm.approach_axis[..., 2] + 1.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class TurnOnFaucet(ManipulatorTask):
    """The lever turned by more than 0.8 of its way."""

    name = "manipulator/turn_on_faucet"

    def success(self, world: World) -> np.ndarray:
        """The faucet is on."""
        return world.quantity("faucet.angle_fraction") > ON_FRACTION
