"""Push: bring a puck to a place on the table."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import caged, gripped, long_tail
from embodied.sim.reads import Frame, Source

PUCK = "the puck, a cylinder 4 cm wide and 4 cm high"
CUBE = "the puck, a cube with edges of 4 cm"


def reward(world, action):
    """Enclose the puck, close on it, bring it to the goal; 10 when it is there."""
    puck, goal = world.puck.position, world.goal.position
    left = np.linalg.norm(puck - goal, axis=-1)
    progress = long_tail(left, 0.0, 0.05, np.linalg.norm(world.start.puck - goal, axis=-1))
    cage = caged(world, puck, world.start.puck, 0.015, 0.05, 0.005)
    grasp = cage + gripped(cage, action[..., 3], 1.0)
    held = (np.linalg.norm(puck - world.fingers.center, axis=-1) < 0.02) & (world.hand.openness > 0.0)
    there = left < 0.05
    return {
        "grasp": np.where(there, 0.0, grasp),
        "push": np.where(held & ~there, 1.0 + grasp + 5.0 * progress, 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


def puck_quantities(shape: str, goal: str) -> dict[Quantity, Source]:
    """Hand, puck and goal: `shape` says what the puck is, `goal` what shall be at the goal."""
    return {
        **hand_quantities(),
        Quantity("puck.position", (3,), "m", "world", f"centre of {shape}"): Frame("body", "obj"),
        Quantity("puck.quaternion", (4,), "1", "world", "orientation of the puck, w x y z"): Frame(
            "body", "obj", "quaternion"
        ),
        **start_quantity("start.puck", "`puck.position` at the start of the episode"),
        **goal_quantity(goal),
    }


class PuckTask(MetaWorldTask):
    """Base of the tasks with a puck on the table and a goal apart from it, which the puck shall reach."""

    objects = (("puck.position", "puck.quaternion"),)
    scalar_last = True
    height: ClassVar[float | None] = None  # of puck and goal at the start [m], where it is not what was drawn
    near_m: ClassVar[float] = 0.07  # distance to the goal that counts as success

    def accepts(self, draw: np.ndarray) -> np.ndarray:
        """Puck and goal are at least 15 cm apart in the plane."""
        return np.linalg.norm(draw[:, :2] - draw[:, 3:5], axis=-1) >= 0.15

    def layout(self, draw: np.ndarray) -> Layout:
        """The puck lies at the first three numbers, turned as it came to rest; the goal is at the others."""
        puck, goal = draw[:, :3].copy(), draw[:, 3:].copy()
        if self.height is not None:
            puck[:, 2] = goal[:, 2] = self.height
        return Layout(goal=goal, joints={"objjoint": puck}, parameters={"start.puck": puck})

    def success(self, world: World) -> np.ndarray:
        """The puck is near the goal."""
        return np.linalg.norm(world.puck.position - world.goal.position, axis=-1) <= self.near_m


class Push(PuckTask):
    """The puck shall be brought to the goal on the table, within 5 cm."""

    name, env_id = "metaworld/push", "push-v3"
    height, near_m = 0.01940468, 0.05  # the height is that of the puck when it has come to rest
    quantities = puck_quantities(PUCK, "where the puck shall be brought, on the table")
