"""Close drawer: push an open drawer shut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embodied.core.world import World
from embodied.sim.task import Start
from embodied.sim.tasks.open_drawer import MAX_OPENING_M, DrawerTask


def reward(world, action):
    """Come to the handle, then push the drawer in."""
    distance = np.linalg.norm(world.gripper.to_handle, axis=-1)
    closed = 1.0 - world.drawer.opening_fraction
    return {
        "near": 1.0 - np.tanh(8.0 * distance),
        "closed": 4.0 * closed,
        "done": np.where(closed > 0.9, 2.0, 0.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


@dataclass(kw_only=True, eq=False, repr=False)
class CloseDrawer(DrawerTask):
    """The drawer, open by 60 to 100 %, shall be pushed shut.

    Args:
        closed_fraction: share of the full opening below which the drawer counts as closed.

    The other arguments are those of `ArticulatedTask`.
    """

    name, push_m = "close_drawer", 0.06

    closed_fraction: float = 0.1

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """The drawer is open by 60 to 100 %."""
        return super().start(rng, n, MAX_OPENING_M * rng.uniform(0.6, 1.0, n))

    def success(self, world: World) -> np.ndarray:
        """The drawer is shut but for the allowed share."""
        return world.drawer.opening_fraction <= self.closed_fraction
