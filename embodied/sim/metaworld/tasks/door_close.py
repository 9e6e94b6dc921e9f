"""Door close: push an open door shut."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import gaussian
from embodied.sim.reads import Frame


def reward(world, action):
    """Bring the hand to where the handle shall be, and with it the handle; 10 when the handle is there."""
    left = np.linalg.norm(world.handle.position - world.goal.position, axis=-1)
    first_left = np.linalg.norm(world.start.door - world.goal.position, axis=-1)
    # The benchmark's margin follows the handle's distance from the hand's first place.
    margin = np.linalg.norm(np.array([-0.5, 0.6, 0.2]) - world.handle.position, axis=-1) + 0.1
    hand_left = np.linalg.norm(world.fingers.center - world.goal.position, axis=-1)
    done = left < 0.05
    return {
        "hand": np.where(done, 0.0, 3.0 * gaussian(hand_left, 0.0, 0.0125, margin)),
        "shut": np.where(done, 0.0, 6.0 * gaussian(left, 0.0, 0.05, first_left)),
        "done": np.where(done, 10.0, 0.0),
    }


class DoorClose(MetaWorldTask):
    """The door, open by 90 degrees, shall be pushed shut."""

    name, env_id, moved_body, scalar_last = "metaworld/door-close", "door-close-v3", "door", True
    quantities = {
        **hand_quantities(),
        Quantity("handle.position", (3,), "m", "world", "the door's handle, moves with the door"): Frame(
            "geom", "handle"
        ),
        Quantity("handle.quaternion", (4,), "1", "world", "orientation of the handle, w x y z"): Frame(
            "geom", "handle", "quaternion"
        ),
        **start_quantity("start.door", "where the door's frame stands"),
        **goal_quantity("where the handle is when the door is shut"),
    }
    objects = (("handle.position", "handle.quaternion"),)

    def layout(self, draw: np.ndarray) -> Layout:
        """The frame stands where it was drawn; the door is open."""
        return Layout(
            goal=draw + np.array([0.2, -0.2, 0.0]),
            body=draw,
            joints={"doorjoint": np.full(len(draw), -1.5708)},
            parameters={"start.door": draw},
        )

    def success(self, world: World) -> np.ndarray:
        """The handle is within 8 cm of the goal."""
        return np.linalg.norm(world.handle.position - world.goal.position, axis=-1) <= 0.08
