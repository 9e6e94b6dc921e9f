"""Reach: move the fingers to a place in the air."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.metaworld.shaping import long_tail
from embodied.sim.metaworld.tasks.push import PUCK, PuckTask, puck_quantities


def reward(world, action):
    """Bring the point between the fingers to the goal; 10 within 5 cm."""
    left = np.linalg.norm(world.fingers.center - world.goal.position, axis=-1)
    first_left = np.linalg.norm(np.array([0.0, 0.6, 0.2]) - world.goal.position, axis=-1)
    return {"reach": 10.0 * long_tail(left, 0.0, 0.05, first_left)}


class Reach(PuckTask):
    """The point between the fingers shall come within 5 cm of the goal; the puck plays no part."""

    name, env_id, near_m = "metaworld/reach", "reach-v3", 0.05
    quantities = puck_quantities(PUCK, "where `fingers.center` shall be")

    def success(self, world: World) -> np.ndarray:
        """The point between the fingers is near the goal."""
        return np.linalg.norm(world.fingers.center - world.goal.position, axis=-1) <= self.near_m
