"""Disassemble: take the ring of a wrench off a peg."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.metaworld.base import Layout
from embodied.sim.metaworld.shaping import caged, gripped, long_tail
from embodied.sim.metaworld.tasks.assembly import WrenchTask, wrench_quantities


def reward(world, action):
    """Grip the wrench at its handle, lift the ring off the peg without tilting it; 10 when it is off."""
    handle, goal = world.handle.position, world.goal.position
    tilt = np.linalg.norm(world.wrench.quaternion - np.array([0.707, 0.0, 0.0, 0.707]), axis=-1)
    level = np.maximum(1.0 - tilt / 0.4, 0.0)

    # Within 1 cm of the handle's middle the place is at the hand's x.
    along = world.hand.position[..., 0] - handle[..., 0]
    shift = np.where(np.abs(along) < 0.01, along, 0.0)[..., None]
    cage = caged(world, handle + shift * np.array([1.0, 0.0, 0.0]), world.start.ring, 0.015, 0.02, 0.01)
    grasp = cage + gripped(cage, action[..., 3], 1.0)

    ring, above = world.ring.position, goal + np.array([0.0, 0.0, 0.1])
    raised = long_tail(np.linalg.norm(above - ring, axis=-1), 0.0, 0.02, 0.2)
    off = handle[..., 2] > goal[..., 2]
    return {
        "grasp": np.where(off, 0.0, level * grasp),
        "lift": np.where((ring[..., 2] > 0.02) & ~off, 0.6 * level, 0.0),
        "off_the_peg": np.where(off, 0.0, 5.4 * level * raised),
        "done": np.where(off, 10.0, 0.0),
    }


class Disassemble(WrenchTask):
    """The wrench, whose ring is around the peg, shall be lifted until its handle is 15 cm higher than at the start."""

    name, env_id = "metaworld/disassemble", "disassemble-v3"
    quantities = wrench_quantities("15 cm above the ring's place at the start; the handle shall get higher than this")

    def layout(self, draw: np.ndarray) -> Layout:
        """Wrench and peg are at the first three numbers; the wrench is turned as it came to rest near the peg."""
        ring = draw[:, :3]
        peg, first = ring + np.array([0.0, 0.0, 0.03]), 1 + self.model.joint("RoundNut").qposadr[0]
        wrench = np.hstack([ring, self.settled(peg)[:, first + 3 : first + 7]])
        goal = ring + np.array([0.0, 0.0, 0.15])
        return Layout(goal=goal, body=peg, joints={"RoundNut": wrench}, parameters={"start.ring": ring})

    def success(self, world: World) -> np.ndarray:
        """The handle is higher than the goal."""
        return world.handle.position[..., 2] > world.goal.position[..., 2]
