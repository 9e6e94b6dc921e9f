"""Dial turn: turn a dial by half a turn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import (
    Layout,
    MetaWorldTask,
    goal_quantity,
    hand_quantities,
    moved,
    start_quantity,
)
from embodied.sim.metaworld.shaping import both, gaussian, long_tail
from embodied.sim.reads import Computed, Frame, JointPosition

_RADIUS_M = 0.05
_PUSH = np.array([0.05, 0.02, 0.09])  # from the dial's mark to where the benchmark pushes it [m]


def reward(world, action):
    """Keep the closed fingers at the push point and bring the mark to the goal; 0 to 10."""
    left = np.linalg.norm(world.mark.position - world.goal.position, axis=-1)
    first_left = np.linalg.norm(world.start.push - world.goal.position, axis=-1)
    gap = np.linalg.norm(world.mark.push_position - world.fingers.center, axis=-1)
    first_gap = np.linalg.norm(world.start.push - world.start.fingers, axis=-1)
    near = gaussian(gap, 0.0, 0.005, np.abs(first_gap - 0.005))
    turned = long_tail(left, 0.0, 0.07, np.abs(first_left - 0.07))
    return {"reach_and_turn": 10.0 * both(both(near, np.clip(action[..., 3], 0.0, 1.0)), turned)}


def _mark(v: Mapping[str, np.ndarray]) -> np.ndarray:
    """The mark on the dial's rim: in front at angle 0, then to the right."""
    angle = v["dial.angle"]
    rim = np.stack([np.sin(angle), -np.cos(angle), np.zeros_like(angle)], axis=-1)
    return v["dial.position"] + _RADIUS_M * rim


class DialTurn(MetaWorldTask):
    """The dial shall be turned until its mark, in front at first, is near the goal behind it."""

    name, env_id, moved_body = "metaworld/dial-turn", "dial-turn-v3", "dial"
    quantities = {
        **hand_quantities(),
        Quantity("dial.position", (3,), "m", "world", "where the dial stands on the table"): Frame("body", "dial"),
        Quantity("dial.quaternion", (4,), "1", "world", "orientation of the dial's base, w x y z"): Frame(
            "body", "dial", "quaternion"
        ),
        Quantity("dial.angle", (), "rad", "joint", "how far the dial is turned, positive seen from above"): (
            JointPosition("knob_Joint_1")
        ),
        Quantity("mark.position", (3,), "m", "world", "mark on the dial's rim, 5 cm from its axis"): Computed(_mark),
        Quantity("mark.push_position", (3,), "m", "world", "point beside and above the mark to push from"): moved(
            "mark.position", _PUSH
        ),
        **start_quantity("start.push", "`mark.push_position` at the start of the episode"),
        **goal_quantity("where the mark shall come: 3 cm behind the dial's axis and 3 cm above the table"),
    }
    objects = (("mark.position", "dial.quaternion"),)

    def layout(self, draw: np.ndarray) -> Layout:
        """The dial stands where it was drawn."""
        push = draw + np.array([0.0, -_RADIUS_M, 0.0]) + _PUSH
        return Layout(goal=draw + np.array([0.0, 0.03, 0.03]), body=draw, parameters={"start.push": push})

    def success(self, world: World) -> np.ndarray:
        """The mark is within 7 cm of the goal."""
        return np.linalg.norm(world.mark.position - world.goal.position, axis=-1) <= 0.07
