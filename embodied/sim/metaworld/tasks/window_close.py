"""Window close: slide a window shut; with what both window tasks share."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import (
    Layout,
    MetaWorldTask,
    Slide,
    goal_quantity,
    hand_quantities,
    start_quantity,
)
from embodied.sim.metaworld.shaping import both, gaussian, long_tail
from embodied.sim.reads import Frame, Source

_SLIDE_M = 0.2


def reward(world, action):
    """Keep the fingers at the handle and bring it to the goal along x; 0 to 10."""
    left = np.abs(world.handle.position - world.goal.position)[..., 0]
    first_left = np.abs(world.start.handle - world.goal.position)[..., 0]
    gap = np.linalg.norm(world.handle.position - world.fingers.center, axis=-1)
    first_gap = np.linalg.norm(world.start.handle - world.start.fingers, axis=-1)
    near = gaussian(gap, 0.0, 0.02, np.abs(first_gap - 0.02))
    shut = long_tail(left, 0.0, 0.05, np.abs(first_left - 0.05))
    return {"reach_and_slide": 10.0 * both(near, shut)}


def window_quantities(site: str, handle: str, goal: str) -> dict[Quantity, Source]:
    """What is observed of the window; `handle` and `goal` say what its observed point and the goal are."""
    return {
        **hand_quantities(),
        Quantity("handle.position", (3,), "m", "world", handle): Frame("site", site),
        **start_quantity("start.handle", "`handle.position` at the start of the episode"),
        **goal_quantity(goal),
    }


class WindowTask(MetaWorldTask):
    """A window slides along x by 20 cm in a frame that stands on the table."""

    moved_body = "window"
    objects = (("handle.position", None),)
    side: ClassVar[float]  # x of the observed side of the handle, in the sliding window [m]
    first: ClassVar[float]  # the window's joint at the start [m]

    def layout(self, draw: np.ndarray) -> Layout:
        """The frame stands where it was drawn; the goal is the other end of the slide."""
        return Layout(
            goal=draw + np.array([_SLIDE_M - self.first, 0.0, 0.0]),
            body=draw,
            joints={"window_slide": np.full(len(draw), self.first)},
            parameters={"start.handle": draw + np.array([self.first + self.side, -0.095, 0.0])},
        )

    def success(self, world: World) -> np.ndarray:
        """The handle is within 5 cm of the goal along x."""
        return np.abs(world.handle.position - world.goal.position)[..., 0] <= 0.05


class WindowClose(WindowTask):
    """The window shall be slid along -x by 16 cm, of 20 cm."""

    name, env_id = "metaworld/window-close", "window-close-v3"
    quantities = window_quantities(
        "handleCloseStart",
        "+x side of the window's handle",
        "1 cm beyond where the handle is when the window is shut (only x counts)",
    )
    side, first = 0.01, _SLIDE_M
    slide = Slide("window_slide", 0.0, (1.0, 0.0, 0.0))
