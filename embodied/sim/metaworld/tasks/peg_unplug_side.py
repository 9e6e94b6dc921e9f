"""Peg unplug side: pull a plug sideways out of a wall."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import caged, gripped, long_tail
from embodied.sim.metaworld.tasks.hammer import SettlingTask
from embodied.sim.reads import Frame
from embodied.sim.task import Start


def reward(world, action):
    """Grip the plug and pull it to the goal; 10 when it is there."""
    plug, goal = world.plug.position, world.goal.position
    left = np.linalg.norm(plug - goal, axis=-1)
    progress = long_tail(left, 0.0, 0.05, np.linalg.norm(world.start.plug - goal, axis=-1))
    cage = caged(world, plug, world.start.plug, 0.025, 0.05, 0.005)
    pulled = (plug[..., 0] - world.start.plug[..., 0] > 0.015) & (world.hand.openness > 0.5)
    held = np.linalg.norm(plug - world.fingers.center, axis=-1) < 0.035
    there = left <= 0.05
    return {
        "grasp": np.where(there, 0.0, cage + gripped(cage, action[..., 3], 0.8)),
        "pull": np.where(pulled & held & ~there, 1.0 + 5.0 * progress, 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


class PegUnplugSide(SettlingTask):
    """The plug shall be pulled 11 cm along +x, out of the wall, to within 7 cm of the goal."""

    name, env_id = "metaworld/peg-unplug-side", "peg-unplug-side-v3"
    moved_body = "box"
    quantities = {
        **hand_quantities(),
        Quantity("plug.position", (3,), "m", "world", "the plug's outer part, where it is gripped"): Frame(
            "site", "pegEnd"
        ),
        Quantity("plug.quaternion", (4,), "1", "world", "orientation of the plug, w x y z"): Frame(
            "body", "plug1", "quaternion"
        ),
        **start_quantity("start.plug", "`plug.position` at the start of the episode, in the wall"),
        **goal_quantity("where the plug shall be pulled, out of the wall"),
    }
    objects = (("plug.position", "plug.quaternion"),)

    def layout(self, draw: np.ndarray) -> Layout:
        """The wall stands where it was drawn, the plug is in its hole."""
        n = len(draw)
        plug, upright = draw + np.array([0.044, 0.0, 0.131]), np.tile([1.0, 0.0, 0.0, 0.0], (n, 1))
        return Layout(
            goal=plug + np.array([0.15, 0.0, 0.0]),
            body=draw,
            joints={"plug1": np.hstack([plug, upright])},
            parameters={"start.plug": plug + np.array([0.04, 0.0, 0.0])},
        )

    def start_from(self, draw: np.ndarray) -> Start:
        """The benchmark leaves the plug the spin that it has got from its fall at the wall."""
        start = super().start_from(draw)
        first = 1 + self.model.nq + self.model.joint("plug1").dofadr[0]
        spin = slice(first + 3, first + 6)
        start.states[:, spin] = self.settled(draw)[:, spin]
        return start

    def success(self, world: World) -> np.ndarray:
        """The plug is within 7 cm of the goal."""
        return np.linalg.norm(world.plug.position - world.goal.position, axis=-1) <= 0.07
