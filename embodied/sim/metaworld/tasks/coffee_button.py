"""Coffee button: push the button of a coffee machine; with what all three coffee tasks share."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.tasks.button_press import reward
from embodied.sim.reads import Frame
from embodied.sim.task import Start

__all__ = ["CoffeeButton", "CoffeeTask", "reward"]

BEFORE_MACHINE = np.array([0.0, -0.22, 0.0])  # place of a mug that stands at the machine
_TRAVEL_M = 0.03


class CoffeeTask(MetaWorldTask):
    """A coffee machine and a mug on the table."""

    moved_body = "coffee_machine"

    def mug(self, draw: np.ndarray) -> np.ndarray:
        """Where the mug starts `(n, 3)` [m, world]."""
        raise NotImplementedError

    def start_from(self, draw: np.ndarray) -> Start:
        """The starts of given random vectors; the mug has been dropped and rocks on, as in the benchmark."""
        start = super().start_from(draw)
        start.states[:, 1:4] = self.mug(draw)  # the mug's free joint is the first and has no name
        return start


class CoffeeButton(CoffeeTask):
    """The button shall be pushed along +y by 1 cm or more, of 3 cm."""

    name, env_id = "metaworld/coffee-button", "coffee-button-v3"
    quantities = {
        **hand_quantities(),
        Quantity("button.position", (3,), "m", "world", "middle of the button's face, moves with the button"): Frame(
            "site", "buttonStart"
        ),
        **start_quantity("start.button", "`button.position` at the start of the episode"),
        **goal_quantity("where the button's face is when it is pushed all the way in (only y counts)"),
    }
    objects = (("button.position", np.array([1.0, 0.0, 0.0, 0.0])),)

    def mug(self, draw: np.ndarray) -> np.ndarray:
        """Below the button."""
        return draw + BEFORE_MACHINE

    def layout(self, draw: np.ndarray) -> Layout:
        """The machine stands where it was drawn."""
        button = draw + BEFORE_MACHINE + np.array([0.0, 0.0, 0.3])
        goal = button + np.array([0.0, _TRAVEL_M, 0.0])
        return Layout(goal=goal, body=draw, parameters={"start.button": button})

    def success(self, world: World) -> np.ndarray:
        """The face is within 2 cm of the goal along y."""
        return np.abs(world.button.position - world.goal.position)[..., 1] <= 0.02
