"""Coffee pull: bring a mug away from a coffee machine; with what both mug tasks share."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import both, caged, gripped, long_tail
from embodied.sim.metaworld.tasks.coffee_button import BEFORE_MACHINE, CoffeeTask
from embodied.sim.reads import Frame, Source


def reward(world, action):
    """Enclose the mug, close on it, bring it to the goal, x and y counting twice; 10 when it is there."""
    mug, start, goal, scale = world.mug.position, world.start.mug, world.goal.position, np.array([2.0, 2.0, 1.0])
    left = np.linalg.norm((mug - goal) * scale, axis=-1)
    progress = long_tail(left, 0.0, 0.05, np.linalg.norm((start - goal) * scale, axis=-1))
    gap = np.linalg.norm(mug - world.fingers.center, axis=-1)
    first_gap = np.linalg.norm(start - world.start.fingers, axis=-1)
    reach = long_tail(gap, 0.0, 0.04, np.abs(first_gap - 0.04))
    grasp = 0.5 * (gripped(caged(world, mug, start, 0.02, 0.05, 0.05), action[..., 3], 0.7) + reach)
    near, there = (gap < 0.04) & (world.hand.openness > 0.0), left < 0.05
    return {
        "grasp_and_bring": np.where(there, 0.0, both(grasp, progress)),
        "bring_when_near": np.where(near & ~there, 1.0 + 5.0 * progress, 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


def mug_quantities(goal: str) -> dict[Quantity, Source]:
    """Hand, mug and goal; `goal` says where that is."""
    return {
        **hand_quantities(),
        Quantity(
            "mug.position", (3,), "m", "world", "middle of the mug's bottom; the mug is 6 cm wide and 7 cm high"
        ): Frame("body", "obj"),
        Quantity(
            "mug.quaternion", (4,), "1", "world", "orientation of the mug, w x y z; its handle is at its +x"
        ): Frame("body", "obj", "quaternion"),
        **start_quantity("start.mug", "`mug.position` at the start of the episode"),
        **goal_quantity(f"where the mug shall be brought, on the table {goal}"),
    }


class CoffeePull(CoffeeTask):
    """The mug shall be brought from the coffee machine to the goal on the table, within 7 cm."""

    name, env_id, scalar_last = "metaworld/coffee-pull", "coffee-pull-v3", True
    quantities = mug_quantities("away from the coffee machine, nearer to the robot")
    objects = (("mug.position", "mug.quaternion"),)

    def accepts(self, draw: np.ndarray) -> np.ndarray:
        """Mug and goal are at least 15 cm apart in the plane."""
        return np.linalg.norm(draw[:, :2] - draw[:, 3:5], axis=-1) >= 0.15

    def mug(self, draw: np.ndarray) -> np.ndarray:
        """At the first three numbers."""
        return draw[:, :3]

    def served(self, draw: np.ndarray) -> np.ndarray:
        """Place of a mug that stands at the machine `(n, 3)` [m, world]: here the mug's first."""
        return self.mug(draw)

    def layout(self, draw: np.ndarray) -> Layout:
        """The mug is at the first three numbers, the goal at the others, the machine behind one of them."""
        machine = self.served(draw) - BEFORE_MACHINE
        return Layout(goal=draw[:, 3:], body=machine, parameters={"start.mug": self.mug(draw)})

    def success(self, world: World) -> np.ndarray:
        """The mug is within 7 cm of the goal."""
        return np.linalg.norm(world.mug.position - world.goal.position, axis=-1) <= 0.07
