"""Reach wall: move the fingers to a place in the air behind a wall."""

from __future__ import annotations

from embodied.sim.metaworld.tasks.push import puck_quantities
from embodied.sim.metaworld.tasks.push_wall import WALL
from embodied.sim.metaworld.tasks.reach import Reach, reward

__all__ = ["ReachWall", "reward"]


class ReachWall(Reach):
    """The point between the fingers shall come within 5 cm of the goal behind the wall; the puck plays no part."""

    name, env_id = "metaworld/reach-wall", "reach-wall-v3"
    quantities = {
        **puck_quantities("the puck, a cylinder 6 cm wide and 3 cm high", "where `fingers.center` shall be"),
        **WALL,
    }
