"""Stick pull: pull a thermos by its handle with a stick."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import both, caged, gripped, long_tail
from embodied.sim.metaworld.tasks.hammer import SettlingTask
from embodied.sim.reads import Frame, Source


def reward(world, action):
    """Grip the stick, bring it into the thermos' handle, pull the thermos to the goal; 10 when it is there."""
    stick, handle, goal, start = world.stick.position, world.handle.position, world.goal.position, world.start.stick
    thermos = np.array([0.2, 0.6, 0.0])  # the foot of the benchmark's thermos before its joints move it
    aside, scale = np.array([0.05, 0.0, 0.0]), np.array([1.0, 1.0, 2.0])

    first_gap = np.linalg.norm((start - thermos - aside) * scale, axis=-1)
    hook = long_tail(np.linalg.norm((stick - handle - aside) * scale, axis=-1), 0.0, 0.05, first_gap)
    stick_left, thermos_left = (np.linalg.norm(x - goal, axis=-1) for x in (stick, handle + aside))
    stick_there = long_tail(stick_left, 0.0, 0.05, np.linalg.norm(start - goal, axis=-1))
    thermos_there = long_tail(thermos_left, 0.0, 0.05, np.linalg.norm(thermos - goal, axis=-1))

    near = np.linalg.norm(stick - world.fingers.center, axis=-1) < 0.02
    held = near & (world.hand.openness > 0.0) & (stick[..., 2] - 0.01 > start[..., 2])
    cage = caged(world, stick, thermos, 0.014, 0.05, 0.01)
    grasp = np.where(held, 1.0, 0.5 * (cage + gripped(cage, action[..., 3], 1.0)))

    past = world.stick.end - handle
    inside = (past[..., 0] >= 0.0) & (np.abs(past[..., 1]) <= 0.04) & (np.abs(past[..., 2]) <= 0.06)
    done = held & inside & (np.linalg.norm(handle - goal, axis=-1) <= 0.12)
    return {
        "grasp_and_hook": np.where(done, 0.0, both(grasp, hook)),
        "held": np.where(held & ~done, 1.0, 0.0),
        "hook": np.where(held & ~done, 5.0 * np.where(inside, 1.0, hook), 0.0),
        "pull": np.where(held & inside & ~done, 2.0 * stick_there + thermos_there, 0.0),
        "done": np.where(done, 10.0, 0.0),
    }


def stick_quantities(goal: str) -> dict[Quantity, Source]:
    """Hand, stick and goal; `goal` says what shall be there."""
    return {
        **hand_quantities(),
        Quantity("stick.position", (3,), "m", "world", "middle of the stick, which is 10 cm long and lies along x"): (
            Frame("body", "stick")
        ),
        Quantity("stick.quaternion", (4,), "1", "world", "orientation of the stick, w x y z"): Frame(
            "body", "stick", "quaternion"
        ),
        **start_quantity("start.stick", "`stick.position` at the start of the episode"),
        **goal_quantity(goal),
    }


class StickTask(SettlingTask):
    """Base of the tasks with a stick and a thermos, which slides upright on the table."""

    scalar_last = True
    goal_height: ClassVar[float]  # [m]
    thermos_y: ClassVar[float]  # how far the thermos is moved along y [m]

    def accepts(self, draw: np.ndarray) -> np.ndarray:
        """Stick and goal are at least 10 cm apart in the plane."""
        return np.linalg.norm(draw[:, :2] - draw[:, 3:5], axis=-1) >= 0.1

    def layout(self, draw: np.ndarray) -> Layout:
        """The stick lies where it was drawn, 2 cm high; of the goal the place in the plane was drawn."""
        stick, goal = draw[:, :3].copy(), draw[:, 3:].copy()
        stick[:, 2], goal[:, 2] = 0.02, self.goal_height
        slides = {"obj_slidex": np.zeros(len(draw)), "obj_slidey": np.full(len(draw), self.thermos_y)}
        return Layout(goal=goal, joints={"stick": stick, **slides}, parameters={"start.stick": stick})


class StickPull(StickTask):
    """The stick shall be brought into the thermos' handle, and the handle to within 12 cm of the goal."""

    name, env_id = "metaworld/stick-pull", "stick-pull-v3"
    goal_height, thermos_y = 0.02, 0.09
    quantities = {
        **stick_quantities("where the thermos' handle shall be pulled with the stick, near the table"),
        Quantity("stick.end", (3,), "m", "world", "the stick's end at +x, which goes into the handle"): Frame(
            "site", "stick_end"
        ),
        Quantity("handle.position", (3,), "m", "world", "middle of the opening in the thermos' handle"): Frame(
            "site", "insertion"
        ),
    }
    objects = (("stick.position", "stick.quaternion"), ("handle.position", None))

    def success(self, world: World) -> np.ndarray:
        """The handle is within 12 cm of the goal and the stick is in it."""
        handle, past = world.handle.position, world.stick.end - world.handle.position
        inside = (past[..., 0] >= 0.0) & (np.abs(past[..., 1]) <= 0.04) & (np.abs(past[..., 2]) <= 0.06)
        return inside & (np.linalg.norm(handle - world.goal.position, axis=-1) <= 0.12)
