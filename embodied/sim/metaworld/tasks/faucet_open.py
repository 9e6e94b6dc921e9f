"""Faucet open: turn a faucet's handle towards +x; with what both faucet tasks share."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, moved
from embodied.sim.metaworld.shaping import gaussian, long_tail
from embodied.sim.reads import Computed, Frame, JointPosition, Source

_LENGTH_M = 0.175  # of the handle


def reward(world, action):
    """Bring the fingers to where the handle is pushed and that point to the goal; 10 when it is there."""
    left = np.linalg.norm(world.handle.contact - world.goal.position, axis=-1)
    # The benchmark's margins are those of the faucet's foot, not of its handle.
    first_left = np.linalg.norm(world.faucet.position - world.goal.position, axis=-1)
    gap = np.linalg.norm(world.handle.contact - world.fingers.center, axis=-1)
    first_gap = np.linalg.norm(world.faucet.position - world.start.fingers, axis=-1)
    near = gaussian(gap, 0.0, 0.01, np.abs(first_gap - 0.01))
    turned = left <= 0.07
    return {
        "reach": np.where(turned, 0.0, 4.0 * near),
        "turn": np.where(turned, 0.0, 6.0 * long_tail(left, 0.0, 0.07, np.abs(first_left - 0.07))),
        "turned": np.where(turned, 10.0, 0.0),
    }


def faucet_quantities(side: float, contact: tuple[float, float, float], at: str, goal: str) -> dict[Quantity, Source]:
    """What is observed of the faucet.

    Args:
        side: x of the observed point when the handle points to -y [m].
        contact: where the handle is pushed, relative to the observed point [m, world].
        at: says where that is.
        goal: says what the goal is.
    """

    def end(v):
        """The observed point at the handle's free end."""
        cos, sin = np.cos(v["handle.angle"]), np.sin(v["handle.angle"])
        x, y = side * cos + _LENGTH_M * sin, side * sin - _LENGTH_M * cos
        return v["faucet.position"] + np.stack([x, y, np.full_like(x, 0.114)], axis=-1)

    face = "+x" if side > 0.0 else "-x"
    return {
        **hand_quantities(),
        Quantity("faucet.position", (3,), "m", "world", "foot of the faucet, stands fixed"): Frame(
            "body", "faucetBase"
        ),
        Quantity("faucet.quaternion", (4,), "1", "world", "orientation of the faucet's foot, w x y z"): Frame(
            "body", "faucetBase", "quaternion"
        ),
        Quantity(
            "handle.angle", (), "rad", "joint", "0 handle points to -y (to the robot), 1.57 to +x, -1.57 to -x"
        ): JointPosition("knob_Joint_1"),
        Quantity(
            "handle.position", (3,), "m", "world", f"{face} side of the handle's free end (at handle.angle 0)"
        ): Computed(end),
        Quantity("handle.contact", (3,), "m", "world", at): moved("handle.position", contact),
        **goal_quantity(goal),
    }


class FaucetOpen(MetaWorldTask):
    """The faucet's handle shall be turned towards +x, to within 7 cm of the goal."""

    name, env_id, moved_body = "metaworld/faucet-open", "faucet-open-v3", "faucetBase"
    quantities = faucet_quantities(
        -0.015,
        (-0.04, 0.0, 0.03),
        "where the handle is pushed: 4 cm towards -x of `handle.position`, 3 cm above",
        "where `handle.contact` shall be brought by turning the handle towards +x",
    )
    objects = (("handle.position", "faucet.quaternion"),)
    direction: ClassVar[float] = 1.0  # of the goal along x

    def layout(self, draw: np.ndarray) -> Layout:
        """The faucet stands where it was drawn."""
        return Layout(goal=draw + np.array([self.direction * _LENGTH_M, 0.0, 0.125]), body=draw)

    def success(self, world: World) -> np.ndarray:
        """The point where the handle is pushed is within 7 cm of the goal."""
        return np.linalg.norm(world.handle.contact - world.goal.position, axis=-1) <= 0.07
