"""Door open: pull a door open by its handle."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities
from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.reads import Frame, JointPosition


def reward(world, action):
    """Come from above behind the handle with closing fingers, then turn the door; 10 when it is open."""
    hand, handle = world.hand.position, world.handle.position - np.array([0.05, 0.0, 0.0])
    radius = np.linalg.norm((hand - handle)[..., :2], axis=-1)
    # A funnel round the handle, below which the hand would run into it.
    floor = np.where(radius <= 0.12, 0.0, 0.04 * np.log(np.maximum(radius - 0.12, 1e-9)) + 0.4)
    above = np.where(hand[..., 2] >= floor, 1.0, long_tail(floor - hand[..., 2], 0.0, 0.01, 0.5 * floor))
    behind = np.linalg.norm(hand - handle - np.array([0.05, 0.03, -0.01]), axis=-1)
    ready = both(above, long_tail(behind, 0.0, 0.06, 0.5))
    grip = 0.5 * (np.clip(action[..., 3], -1.0, 1.0) + 1.0)

    left = np.pi / 2.0 + np.pi / 6.0 + world.door.angle
    opened = 0.2 * (world.door.angle < -np.pi / 90.0) + 0.8 * long_tail(left, 0.0, 0.5, np.pi / 3.0)
    done = np.abs(world.handle.position - world.goal.position)[..., 0] <= 0.08
    return {
        "ready": np.where(done, 0.0, 2.0 * both(ready, grip)),
        "opened": np.where(done, 0.0, 8.0 * opened),
        "done": np.where(done, 10.0, 0.0),
    }


class DoorOpen(MetaWorldTask):
    """The shut door shall be opened until its handle has come 30 cm to the left."""

    name, env_id, moved_body, scalar_last = "metaworld/door-open", "door-open-v3", "door", True
    quantities = {
        **hand_quantities(),
        Quantity("handle.position", (3,), "m", "world", "the door's handle, moves with the door"): Frame(
            "geom", "handle"
        ),
        Quantity("handle.quaternion", (4,), "1", "world", "orientation of the handle, w x y z"): Frame(
            "geom", "handle", "quaternion"
        ),
        Quantity("door.angle", (), "rad", "joint", "0 shut, negative when the door is open"): JointPosition(
            "doorjoint"
        ),
        **goal_quantity("where the handle is when the door is open (only x counts)"),
    }
    objects = (("handle.position", "handle.quaternion"),)

    def layout(self, draw: np.ndarray) -> Layout:
        """The frame stands where it was drawn; the door is shut."""
        return Layout(goal=draw + np.array([-0.3, -0.45, 0.0]), body=draw, joints={"doorjoint": np.zeros(len(draw))})

    def success(self, world: World) -> np.ndarray:
        """The handle is within 8 cm of the goal along x."""
        return np.abs(world.handle.position - world.goal.position)[..., 0] <= 0.08
