"""Window open: slide a window open."""

from __future__ import annotations

import numpy as np

from embodied.sim.metaworld.base import Slide
from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.metaworld.tasks.window_close import _SLIDE_M, WindowTask, window_quantities


def reward(world, action):
    """Keep the fingers at the handle and bring it to the goal along x; 0 to 10."""
    left = np.abs(world.handle.position - world.goal.position)[..., 0]
    gap = np.linalg.norm(world.handle.position - world.fingers.center, axis=-1)
    first_gap = np.linalg.norm(world.start.handle - world.start.fingers, axis=-1)
    near = long_tail(gap, 0.0, 0.02, np.abs(first_gap - 0.02))
    return {"reach_and_slide": 10.0 * both(near, long_tail(left, 0.0, 0.05, 0.15))}


class WindowOpen(WindowTask):
    """The window shall be slid along +x by 19 cm, of 20 cm."""

    name, env_id = "metaworld/window-open", "window-open-v3"
    quantities = window_quantities(
        "handleOpenStart",
        "-x side of the window's handle",
        "4 cm beyond where the handle is when the window is fully open (only x counts)",
    )
    side, first = -0.04, 0.0
    slide = Slide("window_slide", _SLIDE_M, (1.0, 0.0, 0.0))
