"""Close drawer: push an open drawer shut."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.tabletop import ScriptedExpert
from embodied.sim.task import Start
from embodied.sim.tasks.open_drawer import MAX_OPENING_M, DrawerTask, HandleExpert


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


class CloseDrawer(DrawerTask):
    """The drawer, open by 60 to 100 %, shall be pushed shut.

    Args:
        instruction: what the robot shall do.
        closed_fraction: share of the full opening below which the drawer counts as closed.
        **rest: see `DrawerTask`.
    """

    name = "close_drawer"

    def __init__(self, *, instruction: str, closed_fraction: float = 0.1, **rest) -> None:
        super().__init__(instruction=instruction, **rest)
        self.closed_fraction = closed_fraction

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """The drawer is open by 60 to 100 %."""
        return self.start_at(rng, n, MAX_OPENING_M * rng.uniform(0.6, 1.0, n))

    def success(self, world: World) -> np.ndarray:
        """The drawer is shut but for the allowed share."""
        return world.drawer.opening_fraction <= self.closed_fraction

    def expert(self, n: int) -> ScriptedExpert:
        """Jaws around the bar from above, then away from the robot."""
        return HandleExpert(self, n, push_m=0.06)
