"""Plate slide: push a puck into a shelf; what the four tasks with puck and shelf share."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.reads import Frame, Source


def reward(world, action):
    """Reach the puck and slide it to the goal; 10 when it is there."""
    puck, goal, origin = world.puck.position, world.goal.position, world.start.origin
    to_goal = np.linalg.norm(puck - goal, axis=-1)
    in_place = long_tail(to_goal, 0.0, 0.05, np.linalg.norm(origin - goal, axis=-1))
    to_puck = np.linalg.norm(world.fingers.center - puck, axis=-1)
    near = long_tail(to_puck, 0.0, 0.05, np.linalg.norm(origin - world.start.fingers, axis=-1))
    there = to_goal < 0.05
    return {
        "near_and_in_place": np.where(there, 0.0, 8.0 * both(near, in_place)),
        "there": np.where(there, 10.0, 0.0),
    }


def puck_quantities(origin: str, goal: str) -> dict[Quantity, Source]:
    """What there is in the tasks with puck and shelf; `origin` and `goal` say what these places are."""
    return {
        **hand_quantities(),
        Quantity("puck.position", (3,), "m", "world", "centre of the puck, which slides and never turns"): Frame(
            "geom", "puck"
        ),
        **start_quantity("start.origin", origin),
        **goal_quantity(goal),
    }


class PlateSlide(MetaWorldTask):
    """The puck shall be pushed into the shelf, to within 7 cm of its middle."""

    name, env_id, moved_body = "metaworld/plate-slide", "plate-slide-v3", "puck_goal"
    quantities = puck_quantities("where the puck starts, on the table's surface", "middle of the shelf, on the table")
    objects = (("puck.position", np.array([0.0, 0.0, 0.0, 1.0])),)
    puck = (0.0, 0.0)  # positions of the puck's joints at the start, along x and y
    shelf = slice(3, 6)  # which numbers of a draw say where the movable shelf stands

    def layout(self, draw: np.ndarray) -> Layout:
        """The goal is where it was drawn; puck and origin are the same in all episodes."""
        at_x, at_y = np.tile(self.puck, (len(draw), 1)).T
        return Layout(
            goal=draw[:, 3:],
            body=draw[:, self.shelf],
            joints={"goal_slidex": at_x, "goal_slidey": at_y},
            parameters={"start.origin": draw[:, :3]},
        )

    def success(self, world: World) -> np.ndarray:
        """The puck is within 7 cm of the goal."""
        return np.linalg.norm(world.puck.position - world.goal.position, axis=-1) <= 0.07
