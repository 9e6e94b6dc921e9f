"""Stick push: push a thermos over the table with a stick."""

from __future__ import annotations

import mujoco
import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.shaping import caged, gripped, long_tail
from embodied.sim.metaworld.tasks.stick_pull import StickTask, stick_quantities
from embodied.sim.reads import Computed, Frame, Sensor

_TOUCH_M = 0.001  # from this gap on the model's contacts press


def reward(world, action):
    """Grip the stick, lift it, push the thermos to the goal with it; 10 when the thermos is there."""
    stick, goal, start = world.stick.position + np.array([0.015, 0.0, 0.0]), world.goal.position, world.start.stick
    thermos_start = np.array([0.2, 0.6, 0.0])
    stick_left, thermos_left = (np.linalg.norm(x - goal, axis=-1) for x in (stick, world.thermos.position))
    stick_there = long_tail(stick_left, 0.0, 0.12, np.linalg.norm(start - goal, axis=-1) - 0.12)
    thermos_there = long_tail(thermos_left, 0.0, 0.12, np.linalg.norm(thermos_start - goal, axis=-1) - 0.12)

    cage = caged(world, stick, start, 0.04, 0.05, 0.01)
    near = np.linalg.norm(stick - world.fingers.center, axis=-1) < 0.02
    held = near & (world.hand.openness > 0.0) & (stick[..., 2] - 0.01 > start[..., 2])
    done = held & (thermos_left <= 0.12)
    return {
        "grasp": np.where(held, 0.0, 0.5 * (cage + gripped(cage, action[..., 3], 1.0))),
        "held": np.where(held & ~done, 2.0 + 5.0 * stick_there, 0.0),
        "push": np.where(held & ~done, 3.0 * thermos_there, 0.0),
        "done": np.where(done, 10.0, 0.0),
    }


class StickPush(StickTask):
    """The thermos shall be pushed to within 12 cm of the goal while the fingers hold the stick above the table."""

    name, env_id = "metaworld/stick-push", "stick-push-v3"
    goal_height, thermos_y = 0.132, 0.0
    quantities = {
        **stick_quantities("where the thermos shall be pushed with the stick"),
        Quantity("thermos.position", (3,), "m", "world", "point on the thermos' axis, 13 cm above the table"): Computed(
            lambda v: v["handle.position"] + np.array([0.0, 0.09, 0.0])
        ),
        Quantity("handle.position", (3,), "m", "world", "middle of the opening in the thermos' handle"): Frame(
            "site", "insertion"
        ),
        Quantity("stick.gap_left", (), "m", "-", "gap between the left pad and the stick, at most 0.01"): Sensor(
            "gap_left"
        ),
        Quantity("stick.gap_right", (), "m", "-", "gap between the right pad and the stick, at most 0.01"): Sensor(
            "gap_right"
        ),
    }
    objects = (("stick.position", "stick.quaternion"), ("thermos.position", None))

    def spec(self) -> mujoco.MjSpec:
        """Measures the gaps between the pads and the stick."""
        spec = super().spec()
        for side in ("left", "right"):
            gap = spec.add_sensor(name=f"gap_{side}", type=mujoco.mjtSensor.mjSENS_GEOMDIST, cutoff=0.01)
            gap.objtype, gap.objname = mujoco.mjtObj.mjOBJ_GEOM, f"{side}pad_geom"
            gap.reftype, gap.refname = mujoco.mjtObj.mjOBJ_GEOM, "objGeom"
        return spec

    def success(self, world: World) -> np.ndarray:
        """The thermos is within 12 cm of the goal, and both pads press on the stick, which is lifted by over 1 cm."""
        stick, left = world.stick, np.linalg.norm(world.thermos.position - world.goal.position, axis=-1)
        held = (stick.gap_left < _TOUCH_M) & (stick.gap_right < _TOUCH_M) & (world.hand.openness > 0.0)
        return held & (stick.position[..., 2] - 0.01 > world.start.stick[..., 2]) & (left <= 0.12)
