"""Open cabinet door: hook the handle of a hinged door and pull it round its arc."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.articulated import ArticulatedTask, BarExpert, swing_direction, to_handle
from embodied.sim.reads import Frame, JointPosition, JointVelocity
from embodied.sim.tabletop import ARM_OBSERVATION, apart, arm_quantities, constant

_MAX_ANGLE = 1.6  # end stop of the door [rad]


def reward(world, action):
    """Bring the jaws around the handle, then pull the door open."""
    distance = np.linalg.norm(world.gripper.to_handle, axis=-1)
    angle = np.clip(world.cabinet.door_angle, 0.0, 1.0)
    return {
        "near": 1.0 - np.tanh(8.0 * distance),
        "opened": 5.0 * angle,
        "done": np.where(world.cabinet.door_angle > 0.8, 2.0, 0.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


@dataclass(kw_only=True, eq=False, repr=False)
class OpenCabinetDoor(ArticulatedTask):
    """The closed door, hinged on the left, shall be opened by at least `opened_deg`.

    Args:
        opened_deg: angle that counts as open [degrees].

    The other arguments are those of `ArticulatedTask`.
    """

    name, scene = "open_cabinet_door", "cabinet"
    base_body, joint, jaw_rad = "cabinet_base", "cabinet_hinge", 0.3  # the jaws half open
    quantities = {
        **arm_quantities(),
        Quantity("cabinet.handle_position", (3,), "m", "world", "middle of the handle bar, moves with the door"): Frame(
            "site", "cabinet_handle"
        ),
        Quantity("cabinet.hinge_position", (3,), "m", "world", "point on the door's vertical hinge"): Frame(
            "body", "cabinet_door"
        ),
        Quantity(
            "cabinet.pull_direction", (3,), "1", "world", "unit vector in which the handle moves when the door opens"
        ): swing_direction("cabinet.handle_position", "cabinet.hinge_position", -1.0),
        Quantity("cabinet.door_angle", (), "rad", "joint", "0 closed, grows when the door opens"): JointPosition(joint),
        Quantity("cabinet.door_velocity", (), "rad/s", "joint", "how fast the door opens"): JointVelocity(joint),
        Quantity("cabinet.max_angle", (), "rad", "-", "angle at which the door meets its stop"): constant(_MAX_ANGLE),
        **to_handle("cabinet"),
    }
    observation = (
        *ARM_OBSERVATION,
        "cabinet.handle_position",
        "cabinet.pull_direction",
        "gripper.to_handle",
        "cabinet.door_angle",
        "cabinet.door_velocity",
    )

    opened_deg: float = 45.0

    def success(self, world: World) -> np.ndarray:
        """The door is open far enough."""
        return world.cabinet.door_angle >= np.radians(self.opened_deg)

    def expert(self, n: int) -> BarExpert:
        """Jaws around the bar from above, then along its arc."""
        return _Swing(self, n)


class _Swing(BarExpert):
    jaw_rad = 0.30

    def plan(self, world: World):
        handle, tool = world.quantity("cabinet.handle_position"), world.quantity("gripper.position")
        way = world.quantity("cabinet.pull_direction")
        up = np.array([0.0, 0.0, 1.0])
        around = handle + 0.002 * up + 0.002 * way
        aims = (around + 0.055 * up, around, handle + 0.002 * up + 0.05 * way)
        return aims, apart(tool[:2], handle[:2]) > 0.035 or tool[2] > handle[2] + 0.03
