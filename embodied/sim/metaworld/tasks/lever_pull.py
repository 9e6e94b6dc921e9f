"""Lever pull: lift a lever from level to upright."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.reads import Frame, JointPosition

_RADIUS_M, _AXIS = 0.2, np.array([0.12, 0.0, 0.25])


def reward(world, action):
    """Bring the hand's shoulder under the lever's end, then lift it to the goal; 0 to 10."""
    shoulder, scale = np.array([0.0, 0.055, 0.07]), np.array([4.0, 1.0, 4.0])
    gap = np.linalg.norm((world.hand.position + shoulder - world.lever.position) * scale, axis=-1)
    first_gap = np.linalg.norm((world.start.fingers + shoulder - world.start.lever) * scale, axis=-1)
    left = np.linalg.norm(world.lever.position - world.goal.position, axis=-1)
    first_left = np.linalg.norm(world.start.lever - world.goal.position, axis=-1)
    ready, lifted = long_tail(gap, 0.0, 0.02, first_gap), long_tail(left, 0.0, 0.04, first_left)
    return {"ready_and_lifted": 10.0 * both(ready, lifted)}


class LeverPull(MetaWorldTask):
    """The lever, level at first, shall be lifted until it stands upright."""

    name, env_id, moved_body, scalar_last = "metaworld/lever-pull", "lever-pull-v3", "lever", True
    quantities = {
        **hand_quantities(),
        Quantity("lever.position", (3,), "m", "world", "end of the lever, moves with it"): Frame("site", "leverStart"),
        Quantity("lever.quaternion", (4,), "1", "world", "orientation of the lever, w x y z"): Frame(
            "geom", "objGeom", "quaternion"
        ),
        Quantity("lever.angle", (), "rad", "joint", "0 level, -pi/2 upright"): JointPosition("LeverAxis"),
        **start_quantity("start.lever", "`lever.position` at the start of the episode, where the lever is level"),
        **goal_quantity("where the lever's end is when it stands upright"),
    }
    objects = (("lever.position", "lever.quaternion"),)

    def layout(self, draw: np.ndarray) -> Layout:
        """The lever's stand is where it was drawn."""
        axis = draw + _AXIS
        return Layout(
            goal=axis + np.array([0.0, 0.0, _RADIUS_M]),
            body=draw,
            parameters={"start.lever": axis - np.array([0.0, _RADIUS_M, 0.0])},
        )

    def success(self, world: World) -> np.ndarray:
        """The lever is within 7.5 degrees of upright."""
        return np.abs(-world.lever.angle - np.pi / 2.0) <= np.pi / 24.0
