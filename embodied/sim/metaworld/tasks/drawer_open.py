"""Drawer open: pull a drawer out of its cabinet."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import (
    Layout,
    MetaWorldTask,
    Slide,
    goal_quantity,
    hand_quantities,
)
from embodied.sim.metaworld.shaping import long_tail
from embodied.sim.reads import Computed, Frame

_HANDLE = np.array([0.0, -0.16, 0.0])
_OPENING_M = 0.2


def reward(world, action):
    """Cage the handle (sideways first, then down), then draw it to the goal; 0 to 10."""
    scale = np.array([3.0, 3.0, 1.0])
    closed = world.goal.position + np.array([0.0, 0.2, 0.0])
    gap = np.linalg.norm((world.handle.position - world.hand.position) * scale, axis=-1)
    first_gap = np.linalg.norm((closed - world.start.fingers) * scale, axis=-1)
    left = np.linalg.norm(world.handle.position - world.goal.position, axis=-1)
    return {
        "caging": 5.0 * long_tail(gap, 0.0, 0.01, first_gap),
        "opening": 5.0 * long_tail(left, 0.0, 0.02, 0.2),
    }


class DrawerOpen(MetaWorldTask):
    """The drawer shall be pulled out by 20 cm."""

    name, env_id, moved_body = "metaworld/drawer-open", "drawer-open-v3", "drawer"
    quantities = {
        **hand_quantities(),
        Quantity("drawer.position", (3,), "m", "world", "origin of the drawer's box"): Frame("body", "drawer_link"),
        Quantity("drawer.quaternion", (4,), "1", "world", "orientation of the drawer, w x y z"): Frame(
            "body", "drawer_link", "quaternion"
        ),
        Quantity("handle.position", (3,), "m", "world", "the drawer's handle, moves with the drawer"): Computed(
            lambda v: v["drawer.position"] + _HANDLE
        ),
        **goal_quantity("where the handle is when the drawer is open"),
    }
    slide = Slide("goal_slidey", -_OPENING_M, (0.0, 1.0, 0.0))
    objects = (("handle.position", "drawer.quaternion"),)

    def layout(self, draw: np.ndarray) -> Layout:
        """The cabinet stands where it was drawn."""
        return Layout(goal=draw + np.array([0.0, -0.16 - _OPENING_M, 0.09]), body=draw)

    def success(self, world: World) -> np.ndarray:
        """The handle is within 3 cm of the goal."""
        return np.linalg.norm(world.handle.position - world.goal.position, axis=-1) <= 0.03
