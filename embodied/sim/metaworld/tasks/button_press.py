"""Button press: push a button into its box; with what all four tasks on this box share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, moved, start_quantity
from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.reads import Frame, Source

FACE_M = 0.193  # distance of the button's face from its origin
WALL = {
    Quantity(
        "wall.position", (3,), "m", "world", "middle of the wall's foot: 20 cm along x, 2 cm along y, 15 cm high"
    ): Frame("body", "wall"),
}


def reward(world, action):
    """Bring open fingers to the button's face; once there, push it along y to the goal; 0 to 10."""
    button, goal = world.button.position, world.goal.position
    gap = np.linalg.norm(button - world.fingers.center, axis=-1)
    near = long_tail(gap, 0.0, 0.05, np.linalg.norm(button - world.start.fingers, axis=-1))
    left, first_left = np.abs(button - goal)[..., 1], np.abs(world.start.button - goal)[..., 1]
    return {
        "reach_open": 2.0 * both(world.hand.openness, near),
        "press": np.where(gap <= 0.05, 8.0 * long_tail(left, 0.0, 0.005, first_left), 0.0),
    }


def button_quantities(face: Sequence[float], goal: str) -> dict[Quantity, Source]:
    """What is observed of the button, whose face is at `face` from its origin; `goal` says what the goal is."""
    return {
        **hand_quantities(),
        Quantity(
            "button.origin", (3,), "m", "world", "point of the button inside its box, 19 cm behind its face"
        ): Frame("body", "button"),
        Quantity("button.position", (3,), "m", "world", "middle of the button's face, moves with the button"): moved(
            "button.origin", face
        ),
        Quantity("button.quaternion", (4,), "1", "world", "orientation of the button, w x y z"): Frame(
            "body", "button", "quaternion"
        ),
        **start_quantity("start.button", "middle of the button's face at the start of the episode"),
        **goal_quantity(goal),
    }


class ButtonTask(MetaWorldTask):
    """A button in a box on the table springs back when it is let go; its stop, 6 cm in, is soft."""

    moved_body = "box"
    objects = (("button.position", "button.quaternion"),)
    tilt_rad: ClassVar[float] = 0.0  # of the box about x
    axis: ClassVar[int] = 1  # the coordinate along which the button is pushed
    near_m: ClassVar[float] = 0.02  # distance to the goal along the axis that counts as success

    def layout(self, draw: np.ndarray) -> Layout:
        """The box stands where it was drawn; the goal is inside it."""
        inward = np.array([0.0, np.cos(self.tilt_rad), np.sin(self.tilt_rad)])
        # Only the boxes that are not tilted get their button at its joint's 0; in the others it rests at its stop.
        joints = {} if self.tilt_rad else {"btnbox_joint": np.zeros(len(draw))}
        # The benchmark remembers the face half a millimetre further out than it observes it.
        first = draw - 0.1935 * inward
        return Layout(goal=draw - 0.1 * inward, body=draw, joints=joints, parameters={"start.button": first})

    def success(self, world: World) -> np.ndarray:
        """The face is near the goal along the button's axis."""
        return np.abs(world.button.position - world.goal.position)[..., self.axis] <= self.near_m


class ButtonPress(ButtonTask):
    """The button shall be pushed along +y by 7.3 cm, into its box."""

    name, env_id = "metaworld/button-press", "button-press-v3"
    quantities = button_quantities(
        (0.0, -FACE_M, 0.0), "9.3 cm inwards of the button's face at the start (only y counts)"
    )
