"""Assembly: put the ring of a wrench over a peg."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import caged, gripped, long_tail
from embodied.sim.metaworld.tasks.hammer import SettlingTask
from embodied.sim.reads import Frame, Source


def reward(world, action):
    """Grip the wrench at its handle, carry the ring over the peg without tilting it; 10 when it hangs on the peg."""
    handle, ring, goal = world.handle.position, world.ring.position, world.goal.position
    tilt = np.linalg.norm(world.wrench.quaternion - np.array([0.707, 0.0, 0.0, 0.707]), axis=-1)
    level = np.maximum(1.0 - tilt / 0.4, 0.0)

    # Within 1 cm of the handle's middle the place is at the hand's x.
    along = world.hand.position[..., 0] - handle[..., 0]
    shift = np.where(np.abs(along) < 0.01, along, 0.0)[..., None]
    place = handle + shift * np.array([1.0, 0.0, 0.0])
    reach_margin = np.abs(np.linalg.norm(world.start.ring - world.start.fingers, axis=-1) - 0.01)
    reach = long_tail(np.linalg.norm(place - world.fingers.center, axis=-1), 0.0, 0.01, reach_margin)
    grip = gripped(caged(world, place, world.start.ring, 0.015, 0.02, 0.01), action[..., 3], 1.0)

    # The ring shall come from above: the farther from the peg's axis, the higher. Heights count three times.
    aside, height = np.linalg.norm((goal - ring)[..., :2], axis=-1), ring[..., 2]
    beyond = aside - 0.01
    wanted = np.where(beyond > 0.0, 0.2 + 0.02 * np.log(np.where(beyond > 0.0, beyond, 1.0)), 0.0)
    over_peg = long_tail(np.sqrt(aside**2 + 9.0 * (wanted - height) ** 2), 0.0, 0.02, 0.4)
    lifted = (height > 0.02) | (beyond < 0.0)

    done = (aside < 0.02) & (height < goal[..., 2])
    return {
        "grasp": np.where(done, 0.0, level * (grip + reach)),
        "lift": np.where(lifted & ~done, 0.6 * level, 0.0),
        "over_the_peg": np.where(done, 0.0, 5.4 * level * over_peg),
        "done": np.where(done, 10.0, 0.0),
    }


def wrench_quantities(goal: str) -> dict[Quantity, Source]:
    """Hand, wrench and goal; `goal` says what shall be there."""
    return {
        **hand_quantities(),
        Quantity("handle.position", (3,), "m", "world", "middle of the wrench's handle, where it is gripped"): Frame(
            "site", "RoundNut-8"
        ),
        Quantity("ring.position", (3,), "m", "world", "centre of the wrench's ring, 13 cm from the handle"): Frame(
            "site", "RoundNut"
        ),
        Quantity("wrench.quaternion", (4,), "1", "world", "orientation of the wrench, w x y z"): Frame(
            "body", "RoundNut", "quaternion"
        ),
        **start_quantity("start.ring", "`ring.position` at the start of the episode"),
        **goal_quantity(goal),
    }


class WrenchTask(SettlingTask):
    """Base of the tasks with a wrench and a peg."""

    moved_body = "peg"
    objects = (("handle.position", "wrench.quaternion"),)

    def accepts(self, draw: np.ndarray) -> np.ndarray:
        """The two places drawn are at least 10 cm apart in the plane."""
        return np.linalg.norm(draw[:, :2] - draw[:, 3:5], axis=-1) >= 0.1


class Assembly(WrenchTask):
    """The wrench's ring shall be put over the peg, below its top."""

    name, env_id = "metaworld/assembly", "assembly-v3"
    quantities = wrench_quantities("top of the upright peg; the ring's centre shall be on its axis, below it")

    def layout(self, draw: np.ndarray) -> Layout:
        """The wrench lies at the first three numbers, turned as it came to rest; the others are the peg's top."""
        ring, goal = draw[:, :3], draw[:, 3:]
        return Layout(
            goal=goal,
            body=goal - np.array([0.0, 0.0, 0.05]),
            joints={"RoundNut": ring},
            parameters={"start.ring": ring},
        )

    def success(self, world: World) -> np.ndarray:
        """The ring's centre is within 2 cm of the peg's axis, below its top."""
        miss = world.goal.position - world.ring.position
        return (np.linalg.norm(miss[..., :2], axis=-1) < 0.02) & (miss[..., 2] > 0.0)
