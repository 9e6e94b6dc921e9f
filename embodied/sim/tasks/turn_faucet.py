"""Turn faucet: push the lever of a tap round its vertical axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.articulated import ArticulatedTask, swing_direction, to_handle
from embodied.sim.reads import Frame, JointPosition, JointVelocity
from embodied.sim.tabletop import ARM_OBSERVATION, ScriptedExpert, apart, arm_quantities, comfortable_pitch, constant

_MAX_ANGLE = 1.6  # end stop of the lever [rad]


def reward(world, action):
    """Come to the side of the handle from which it can be pushed, then turn it."""
    angle = np.clip(world.faucet.angle, 0.0, 1.05)
    behind = world.gripper.to_handle - 0.02 * world.faucet.handle_direction
    distance = np.linalg.norm(behind, axis=-1)
    return {
        "near": 1.0 - np.tanh(8.0 * distance),
        "turned": 5.0 * angle,
        "done": np.where(world.faucet.angle >= 1.05, 2.0, 0.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


@dataclass(kw_only=True, eq=False, repr=False)
class TurnFaucet(ArticulatedTask):
    """The lever, which points at the robot, shall be turned to the right by at least `turned_deg`.

    Args:
        turned_deg: angle that counts as turned [degrees].

    The other arguments are those of `ArticulatedTask`.
    """

    name, scene = "turn_faucet", "faucet"
    base_body, joint, jaw_rad = "faucet_base", "faucet_hinge", -0.1  # the jaws nearly shut
    quantities = {
        **arm_quantities(),
        Quantity("faucet.handle_position", (3,), "m", "world", "upright handle at the end of the lever"): Frame(
            "site", "faucet_handle"
        ),
        Quantity(
            "faucet.axis_position", (3,), "m", "world", "point on the vertical axis that the lever turns about"
        ): Frame("body", "faucet_lever"),
        Quantity(
            "faucet.handle_direction", (3,), "1", "world", "unit vector in which the handle moves when the angle grows"
        ): swing_direction("faucet.handle_position", "faucet.axis_position", 1.0),
        Quantity("faucet.angle", (), "rad", "joint", "how far the lever is turned, 0 at the start"): JointPosition(
            joint
        ),
        Quantity("faucet.angular_velocity", (), "rad/s", "joint", "how fast the angle grows"): JointVelocity(joint),
        Quantity("faucet.max_angle", (), "rad", "-", "angle at which the lever meets its stop"): constant(_MAX_ANGLE),
        **to_handle("faucet"),
    }
    observation = (
        *ARM_OBSERVATION,
        "faucet.handle_position",
        "faucet.axis_position",
        "faucet.handle_direction",
        "gripper.to_handle",
        "faucet.angle",
        "faucet.angular_velocity",
    )

    turned_deg: float = 60.0
    spread_rad: float = 0.2

    def success(self, world: World) -> np.ndarray:
        """The lever is turned far enough."""
        return world.faucet.angle >= np.radians(self.turned_deg)

    def expert(self, n: int) -> ScriptedExpert:
        """Shut the jaws, go down to the left of the handle, push it along its arc."""
        return _Turn(self, n)


class _Turn(ScriptedExpert):
    """Phases: 0 above the place beside the handle, 1 down, 2 push along the arc."""

    def target(self, row: int, world: World):
        handle, tool = world.quantity("faucet.handle_position"), world.quantity("gripper.position")
        way = world.quantity("faucet.handle_direction")
        up = np.array([0.0, 0.0, 1.0])
        # The shut jaws stand on the robot's side of the grasp point: aim a little beyond the handle.
        outward = tool - np.array([0.0388, 0.0, 0.0])
        outward = 0.010 * np.append(outward[:2] / np.linalg.norm(outward[:2]), 0.0)
        beside = handle + outward - 0.040 * way
        phase, steps = self.phase[row], self.steps_in_phase[row]
        lost = float((handle + outward - tool) @ way) < -0.005 or apart(handle, tool) > 0.07
        if (phase == 0 and apart(tool[:2], beside[:2]) < 0.010 + 0.001 * steps) or (
            phase == 1 and tool[2] < handle[2] + 0.008
        ):
            self.next_phase(row)
        elif phase == 2 and lost:
            self.phase[row] = self.steps_in_phase[row] = 0
        if world.quantity("faucet.angle") > 0.85 * _MAX_ANGLE:
            return tool, None, -0.15
        aims = (beside + 0.055 * up, beside, handle + outward + 0.010 * way)
        return aims[self.phase[row]], comfortable_pitch(tool[0]), -0.15
