"""Peg insert side: put a peg sideways into the hole of a block."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import both, caged, gripped, long_tail
from embodied.sim.metaworld.tasks.hammer import SettlingTask
from embodied.sim.reads import Frame


def reward(world, action):
    """Grip the peg, lift it, bring its head into the hole past the block's edges; 10 when it is in."""
    peg, head, goal = world.peg.position, world.peg.head, world.goal.position
    scale = np.array([1.0, 2.0, 2.0])
    left = np.linalg.norm((head - goal) * scale, axis=-1)
    # The benchmark's margin is from where the head is in the model at rest, not from where the peg was placed.
    progress = long_tail(left, 0.0, 0.07, np.linalg.norm((np.array([-0.1, 0.6, 0.014784685]) - goal) * scale, axis=-1))

    # In front of the block, below and above the hole, the head counts less the nearer it is to one corner.
    angle = 1.57  # by which the block is turned
    turn = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
    clear = []
    for bad, good in (([0.1, -0.11, 0.01], [-0.1, -0.15, 0.096]), ([0.1, -0.11, 0.16], [-0.1, -0.17, 0.19])):
        bad, good = (goal - np.array([0.03, 0.0, 0.13]) + turn @ np.array(corner) for corner in (bad, good))
        share = (head - bad) / (good - bad)
        inside = ((share >= 0.0) & (share <= 1.0)).all(axis=-1)
        clear.append(np.where(inside, share.prod(axis=-1), 1.0))
    progress = both(progress, both(clear[0], clear[1]))

    near = np.linalg.norm(peg - world.fingers.center, axis=-1) < 0.08
    held = near & (world.hand.openness > 0.0) & (peg[..., 2] - 0.01 > world.start.peg[..., 2])
    cage = caged(world, peg, world.start.peg, 0.0075, 0.03, 0.005)
    grasp = np.where(held, 1.0, 0.5 * (cage + gripped(cage, action[..., 3], 1.0)))
    there = left <= 0.07
    return {
        "grasp_and_insert": np.where(there, 0.0, both(grasp, progress)),
        "held": np.where(held & ~there, 1.0 + 5.0 * progress, 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


class PegInsertSide(SettlingTask):
    """The peg's head shall be brought into the block's hole, to within 7 cm of the goal (y and z count twice)."""

    name, env_id, scalar_last = "metaworld/peg-insert-side", "peg-insert-side-v3", True
    moved_body = "box"
    quantities = {
        **hand_quantities(),
        Quantity(
            "peg.position", (3,), "m", "world", "where the peg is gripped, 3 cm behind its middle, on its upper side"
        ): Frame("site", "pegGrasp"),
        Quantity("peg.quaternion", (4,), "1", "world", "orientation of the peg, w x y z"): Frame(
            "body", "peg", "quaternion"
        ),
        Quantity("peg.head", (3,), "m", "world", "2 cm inside the peg's end at -x, which goes into the hole"): Frame(
            "site", "pegHead"
        ),
        Quantity("hole.position", (3,), "m", "world", "mouth of the hole in the block, open towards +x"): Frame(
            "site", "hole"
        ),
        **start_quantity("start.peg", "middle of the peg at the start of the episode"),
        **goal_quantity("where the peg's head shall be, in the hole"),
    }
    objects = (("peg.position", "peg.quaternion"),)

    def accepts(self, draw: np.ndarray) -> np.ndarray:
        """Peg and block are at least 10 cm apart in the plane."""
        return np.linalg.norm(draw[:, :2] - draw[:, 3:5], axis=-1) >= 0.1

    def layout(self, draw: np.ndarray) -> Layout:
        """The peg lies at the first three numbers, turned as it came to rest; the block stands at the others."""
        peg, block = draw[:, :3], draw[:, 3:]
        goal = block + np.array([0.03, 0.0, 0.13])
        return Layout(goal=goal, body=block, joints={"peg": peg}, parameters={"start.peg": peg})

    def success(self, world: World) -> np.ndarray:
        """The peg's head is within 7 cm of the goal, y and z counted twice."""
        miss = (world.peg.head - world.goal.position) * np.array([1.0, 2.0, 2.0])
        return np.linalg.norm(miss, axis=-1) <= 0.07
