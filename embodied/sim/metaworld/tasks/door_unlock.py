"""Door unlock: turn a door's lock by pushing its lever sideways."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, goal_quantity, hand_quantities
from embodied.sim.metaworld.brushed import BrushedTask
from embodied.sim.metaworld.shaping import long_tail
from embodied.sim.reads import Frame

_AXIS = np.array([0.0, -0.118, 0.061])  # from the door's frame to the lock's axis [m]


def reward(world, action):
    """Bring the hand's shoulder to the lever, then push the lever to the goal along x; 0 to 10."""
    shoulder, scale = np.array([0.0, 0.055, 0.07]), np.array([0.25, 1.0, 0.5])
    gap = np.linalg.norm((world.hand.position + shoulder - world.lever.position) * scale, axis=-1)
    first_gap = np.linalg.norm((world.start.fingers + shoulder - world.lock.position) * scale, axis=-1)
    left = np.abs(world.goal.position - world.lever.position)[..., 0]
    return {
        "ready": 2.0 * long_tail(gap, 0.0, 0.02, first_gap),
        "pushed": 8.0 * long_tail(left, 0.0, 0.005, 0.1),
    }


class DoorUnlock(BrushedTask):
    """The lock's lever shall be pushed over by 10 cm along x."""

    name, env_id, moved_body, brushed_joint = "metaworld/door-unlock", "door-unlock-v3", "door", "lock_link"
    quantities = {
        **hand_quantities(),
        Quantity("lock.position", (3,), "m", "world", "the lock's axis, about which the lever turns"): Frame(
            "body", "lock_link"
        ),
        Quantity("lever.position", (3,), "m", "world", "end of the lock's lever, moves with it"): Frame(
            "site", "lockStartUnlock"
        ),
        Quantity("door.quaternion", (4,), "1", "world", "orientation of the door, w x y z"): Frame(
            "body", "door_link", "quaternion"
        ),
        **goal_quantity("where the lever's end is when the lock is open (only x counts)"),
    }
    objects = (("lever.position", "door.quaternion"),)

    def layout(self, draw: np.ndarray) -> Layout:
        """The door stands where it was drawn, locked."""
        return Layout(
            goal=draw + _AXIS + np.array([0.1, -0.04, 0.0]),
            body=draw,
            joints={"lock_link": np.full(len(draw), 1.5708)},
        )

    def success(self, world: World) -> np.ndarray:
        """The lever's end is within 2 cm of the goal along x."""
        return np.abs(world.goal.position - world.lever.position)[..., 0] <= 0.02
