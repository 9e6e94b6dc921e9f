"""Handle press: push a lever down; with what all four tasks on this lever share."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.brushed import BrushedTask
from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.reads import Frame, Source

_LEVER = np.array([0.0, -0.05, 0.15])  # in the box, when the lever is up
_GRIP_Y_M = -0.216  # of the goals, in the box


def reward(world, action):
    """Bring the fingers to the handle and its height to the goal's; 10 when it is there."""
    height = np.abs(world.handle.position - world.goal.position)[..., 2]
    first_height = np.abs(world.start.handle - world.goal.position)[..., 2]
    gap = np.linalg.norm(world.handle.position - world.fingers.center, axis=-1)
    first_gap = np.linalg.norm(world.start.handle - world.start.fingers, axis=-1)
    near = long_tail(gap, 0.0, 0.02, np.abs(first_gap - 0.02))
    low = long_tail(height, 0.0, 0.02, np.abs(first_height - 0.02))
    down = height <= 0.02
    return {
        "reach_and_press": np.where(down, 0.0, 10.0 * both(near, low)),
        "pressed": np.where(down, 10.0, 0.0),
    }


def lever_quantities(site: str, handle: str, goal: str) -> dict[Quantity, Source]:
    """What is observed of the lever; `handle` and `goal` say what its observed point and the goal are."""
    return {
        **hand_quantities(),
        Quantity("handle.position", (3,), "m", "world", handle): Frame("site", site),
        **start_quantity("start.handle", "`handle.position` at the start of the episode"),
        **goal_quantity(goal),
    }


class LeverTask(BrushedTask):
    """A handle slides up and down by 10 cm on a box that stands on the table."""

    moved_body, brushed_joint = "box", "handle_link"
    objects = (("handle.position", None),)
    yaw_rad: ClassVar[float] = 0.0  # of the box
    point: ClassVar[tuple[float, float, float]] = (0.0, -0.166, 0.022)  # the observed point, in the lever
    first: ClassVar[float] = -0.001  # the lever's joint at the start [m]
    goal_height: ClassVar[float] = 0.075  # in the box [m]

    def layout(self, draw: np.ndarray) -> Layout:
        """The box stands where it was drawn."""
        cos, sin = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        to_world = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        handle = _LEVER + self.point + np.array([0.0, 0.0, self.first])
        return Layout(
            goal=draw + to_world @ [0.0, _GRIP_Y_M, self.goal_height],
            body=draw,
            joints={"handle_link": np.full(len(draw), self.first)},
            parameters={"start.handle": draw + to_world @ handle},
        )


class HandlePress(LeverTask):
    """The handle shall be pushed down by 7.6 cm, of 10 cm."""

    name, env_id = "metaworld/handle-press", "handle-press-v3"
    quantities = lever_quantities(
        "handleStart",
        "top of the handle's grip, in its middle",
        "where the handle is when it is pressed down (only the height counts)",
    )

    def success(self, world: World) -> np.ndarray:
        """The handle is within 2 cm of the goal's height."""
        return np.abs(world.handle.position - world.goal.position)[..., 2] <= 0.02
