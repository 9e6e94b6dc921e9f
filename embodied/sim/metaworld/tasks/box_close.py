"""Box close: put the lid on a box."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, goal_quantity, hand_quantities
from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.metaworld.tasks.hammer import SettlingTask
from embodied.sim.reads import Frame


def reward(world, action):
    """Come to the lid from above and close the fingers, lift it, put it on the box untilted; 10 when it is on."""
    hand, goal, lid = world.hand.position, world.goal.position, world.lid.position + np.array([0.0, 0.0, 0.02])
    tilt = np.linalg.norm(world.lid.quaternion - np.array([0.707, 0.0, 0.0, 0.707]), axis=-1)
    level = np.maximum(1.0 - tilt / 0.2, 0.0)

    # The hand shall stay in a funnel: free to go down within 2 cm of the lid's axis, the higher the farther off.
    outside = np.linalg.norm((hand - lid)[..., :2], axis=-1) - 0.02
    floor = np.where(outside > 0.0, 0.4 + 0.04 * np.log(np.where(outside > 0.0, outside, 1.0)), 0.0)
    above = long_tail(np.maximum(floor - hand[..., 2], 0.0), 0.0, 0.01, 0.5 * floor)
    ready = both(above, long_tail(np.linalg.norm(hand - lid, axis=-1), 0.0, 0.02, 0.5))
    closing = 0.5 * (np.clip(action[..., 3], -1.0, 1.0) + 1.0)

    miss = np.linalg.norm((goal - lid) * np.array([1.0, 1.0, 3.0]), axis=-1)
    on_box = np.linalg.norm(world.lid.position - goal, axis=-1) < 0.08
    return {
        "grasp": np.where(on_box, 0.0, 2.0 * level * both(closing, ready)),
        "lift": np.where((lid[..., 2] > 0.04) & ~on_box, 1.6 * level, 0.0),
        "onto_the_box": np.where(on_box, 0.0, 6.4 * level * long_tail(miss, 0.0, 0.05, 0.25)),
        "on_the_box": np.where(on_box, 10.0 * level, 0.0),
    }


class BoxClose(SettlingTask):
    """The lid shall be put on the box, to within 8 cm of the goal."""

    name, env_id = "metaworld/box-close", "box-close-v3"
    moved_body = "boxbody"
    quantities = {
        **hand_quantities(),
        Quantity("lid.position", (3,), "m", "world", "middle of the lid; its handle, along x, is 8 cm above"): Frame(
            "body", "top_link"
        ),
        Quantity("lid.quaternion", (4,), "1", "world", "orientation of the lid, w x y z"): Frame(
            "body", "top_link", "quaternion"
        ),
        **goal_quantity("where the lid shall be brought, above the middle of the open box"),
    }
    objects = (("lid.position", "lid.quaternion"),)

    def accepts(self, draw: np.ndarray) -> np.ndarray:
        """Lid and box are at least 25 cm apart in the plane."""
        return np.linalg.norm(draw[:, :2] - draw[:, 3:5], axis=-1) >= 0.25

    def layout(self, draw: np.ndarray) -> Layout:
        """The lid lies at the first three numbers, tilted as it came to rest on the box; the goal is at the others."""
        box, first = draw[:, 3:] * np.array([1.0, 1.0, 0.0]), 1 + self.model.joint("boxbodytop").qposadr[0]
        lid = np.hstack([draw[:, :3], self.settled(box, 255)[:, first + 3 : first + 7]])
        return Layout(goal=draw[:, 3:], body=box, joints={"boxbodytop": lid})

    def success(self, world: World) -> np.ndarray:
        """The lid is within 8 cm of the goal."""
        return np.linalg.norm(world.lid.position - world.goal.position, axis=-1) < 0.08
