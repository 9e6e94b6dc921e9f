"""Open drawer: hook or grip the handle and pull. Also what both drawer tasks share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.articulated import ArticulatedTask, BarExpert, to_handle
from embodied.sim.reads import Computed, Frame, JointPosition, JointVelocity
from embodied.sim.tabletop import ARM_OBSERVATION, arm_quantities, constant

MAX_OPENING_M = 0.12


def reward(world, action):
    """Bring the jaws around the handle, then pull the drawer out."""
    distance = np.linalg.norm(world.gripper.to_handle, axis=-1)
    opened = world.drawer.opening_fraction
    return {
        "near": 1.0 - np.tanh(8.0 * distance),
        "opened": 4.0 * opened,
        "done": np.where(opened > 0.8, 2.0, 0.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class DrawerTask(ArticulatedTask):
    """Base of the drawer tasks: a drawer in front of the robot that opens towards it by up to 12 cm.

    Attributes:
        push_m: how far beyond the bar the expert's tool strives, along x [m]; negative pulls towards the robot.
    """

    push_m: ClassVar[float]
    scene, base_body, joint, jaw_rad = "drawer", "drawer_base", "drawer_slide", 0.3  # the jaws half open
    quantities = {
        **arm_quantities(),
        Quantity(
            "drawer.handle_position", (3,), "m", "world", "middle of the handle bar, moves with the drawer"
        ): Frame("site", "drawer_handle"),
        Quantity("drawer.opening", (), "m", "joint", "how far the drawer is pulled out"): JointPosition(joint),
        Quantity(
            "drawer.opening_velocity", (), "m/s", "joint", "speed of the drawer, positive when opening"
        ): JointVelocity(joint),
        Quantity("drawer.max_opening", (), "m", "-", "opening at which the drawer is fully open"): constant(
            MAX_OPENING_M
        ),
        Quantity("drawer.opening_fraction", (), "1", "-", "0 closed to 1 fully open"): Computed(
            lambda v: np.minimum(np.maximum(v["drawer.opening"] / MAX_OPENING_M, 0.0), 1.0)
        ),
        **to_handle("drawer"),
    }
    observation = (
        *ARM_OBSERVATION,
        "drawer.handle_position",
        "gripper.to_handle",
        "drawer.opening_fraction",
        "drawer.opening_velocity",
    )

    def expert(self, n: int) -> BarExpert:
        """Jaws around the bar from above, then along the drawer's slide."""
        return _Slide(self, n)


@dataclass(kw_only=True, eq=False, repr=False)
class OpenDrawer(DrawerTask):
    """The closed drawer shall be pulled open.

    Args:
        opened_fraction: share of the full opening that counts as open.

    The other arguments are those of `ArticulatedTask`.
    """

    name, push_m = "open_drawer", -0.06

    opened_fraction: float = 0.8

    def success(self, world: World) -> np.ndarray:
        """The drawer is open by the wanted share."""
        return world.drawer.opening_fraction >= self.opened_fraction


class _Slide(BarExpert):
    jaw_rad = 0.28

    def plan(self, world: World):
        handle, tool = world.quantity("drawer.handle_position"), world.quantity("gripper.position")
        above, around = handle + np.array([-0.002, 0.0, 0.045]), handle + np.array([-0.002, 0.0, 0.002])
        aims = (above, around, handle + np.array([self.task.push_m, 0.0, 0.002]))
        return aims, abs(tool[0] - handle[0]) > 0.032 or tool[2] > handle[2] + 0.03
