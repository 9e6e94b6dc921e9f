"""Door lock: turn a door's lock by pushing its lever down."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, goal_quantity, hand_quantities
from embodied.sim.metaworld.brushed import BrushedTask
from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.reads import Frame

_AXIS = np.array([0.0, -0.118, 0.061])  # from the door's frame to the lock's axis [m]


def reward(world, action):
    """Bring the left pad of the open fingers to the lever, then push the lever down to the goal; 0 to 10."""
    gap = np.linalg.norm((world.lever.position - world.fingers.left_pad) * np.array([0.25, 1.0, 0.5]), axis=-1)
    left = np.abs(world.goal.position - world.lever.position)[..., 2]
    return {
        "near": 2.0 * both(world.hand.openness, long_tail(gap, 0.0, 0.01, gap)),  # the benchmark's margin is the gap
        "pushed": 8.0 * long_tail(left, 0.0, 0.005, 0.1),
    }


class DoorLock(BrushedTask):
    """The lock's lever shall be pushed down by 10 cm."""

    name, env_id, moved_body, brushed_joint = "metaworld/door-lock", "door-lock-v3", "door", None
    settling_steps = 51  # the benchmark makes one more after the door has been placed
    quantities = {
        **hand_quantities(),
        Quantity("lock.position", (3,), "m", "world", "the lock's axis, about which the lever turns"): Frame(
            "body", "lock_link"
        ),
        Quantity("lever.position", (3,), "m", "world", "end of the lock's lever, moves with it"): Frame(
            "site", "lockStartLock"
        ),
        Quantity("door.quaternion", (4,), "1", "world", "orientation of the door, w x y z"): Frame(
            "body", "door_link", "quaternion"
        ),
        **goal_quantity("where the lever's end is when the door is locked (only the height counts)"),
    }
    objects = (("lever.position", "door.quaternion"),)

    def layout(self, draw: np.ndarray) -> Layout:
        """The door stands where it was drawn, unlocked."""
        return Layout(goal=draw + _AXIS + np.array([0.0, -0.04, -0.1]), body=draw)

    def success(self, world: World) -> np.ndarray:
        """The lever's end is within 2 cm of the goal in height."""
        return np.abs(world.goal.position - world.lever.position)[..., 2] <= 0.02
