"""Drawer close: push an open drawer shut."""

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
    moved,
    start_quantity,
)
from embodied.sim.metaworld.shaping import both, gaussian, long_tail
from embodied.sim.reads import Frame

_OPEN_M = 0.15
_HANDLE = np.array([0.0, -0.16, 0.05])  # from the drawer's origin to the point that the benchmark observes [m]
_ORIGIN = np.array([0.0, -0.01, 0.09])  # from the cabinet to the shut drawer's origin [m]


def reward(world, action):
    """Keep the closed fingers at the handle and bring it to the goal; 10 when the drawer is shut."""
    left = np.linalg.norm(world.handle.position - world.goal.position, axis=-1)
    first_left = np.linalg.norm(world.start.handle - world.goal.position, axis=-1)
    gap = np.linalg.norm(world.handle.position - world.fingers.center, axis=-1)
    first_gap = np.linalg.norm(world.start.handle - world.start.fingers, axis=-1)
    shut = long_tail(left, 0.0, 0.05, np.abs(first_left - 0.05))
    near = gaussian(gap, 0.0, 0.005, np.abs(first_gap - 0.005))
    done = left <= 0.065
    return {
        "reach_and_push": np.where(done, 0.0, 10.0 * both(both(near, np.clip(action[..., 3], 0.0, 1.0)), shut)),
        "done": np.where(done, 10.0, 0.0),
    }


class DrawerClose(MetaWorldTask):
    """The drawer, open by 15 cm, shall be pushed shut."""

    name, env_id, moved_body = "metaworld/drawer-close", "drawer-close-v3", "drawer"
    quantities = {
        **hand_quantities(),
        Quantity("drawer.position", (3,), "m", "world", "origin of the drawer's box"): Frame("body", "drawer_link"),
        Quantity(
            "handle.position", (3,), "m", "world", "point 5 cm above the drawer's handle, moves with the drawer"
        ): moved("drawer.position", _HANDLE),
        **start_quantity("start.handle", "`handle.position` at the start of the episode"),
        **goal_quantity("the handle itself when the drawer is shut, so 5 cm below `handle.position` then"),
    }
    slide = Slide("goal_slidey", 0.0, (0.0, 1.0, 0.0))
    objects = (("handle.position", None),)

    def layout(self, draw: np.ndarray) -> Layout:
        """The cabinet stands where it was drawn; the drawer is open."""
        handle = draw + _ORIGIN + _HANDLE - np.array([0.0, _OPEN_M, 0.0])
        return Layout(
            goal=draw + np.array([0.0, -0.16, 0.09]),
            body=draw,
            joints={"goal_slidey": np.full(len(draw), -_OPEN_M)},
            parameters={"start.handle": handle},
        )

    def success(self, world: World) -> np.ndarray:
        """The handle is within 6.5 cm of the goal."""
        return np.linalg.norm(world.handle.position - world.goal.position, axis=-1) <= 0.065
