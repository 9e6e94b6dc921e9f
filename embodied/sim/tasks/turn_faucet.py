"""Turn faucet: push the lever of a tap round its vertical axis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.reads import Computed, Frame, JointPosition, JointVelocity
from embodied.sim.tabletop import (
    ARM_OBSERVATION,
    ScriptedExpert,
    TabletopTask,
    apart,
    arm_quantities,
    comfortable_pitch,
    constant,
    relative,
)
from embodied.sim.task import Start

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


def _handle_direction(v: Mapping[str, np.ndarray]) -> np.ndarray:
    """Unit vector of the handle's way when it turns on: the lever's arm, rotated by +90 degrees about z."""
    arm = v["faucet.handle_position"] - v["faucet.axis_position"]
    way = np.stack([-arm[:, 1], arm[:, 0], np.zeros(len(arm))], axis=-1)
    return way / np.linalg.norm(way, axis=-1, keepdims=True)


class TurnFaucet(TabletopTask):
    """The lever, which points at the robot, shall be turned to the right by at least `turned_deg`.

    Args:
        instruction: what the robot shall do.
        turned_deg: angle that counts as turned [degrees].
        spread_m: half widths of the faucet's places in x and y [m].
        spread_rad: half width of its yaw [rad].
        episode_steps: actions per episode.
        aliases: published names of quantities.
    """

    name, scene = "turn_faucet", "faucet"
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
        ): Computed(_handle_direction),
        Quantity("faucet.angle", (), "rad", "joint", "how far the lever is turned, 0 at the start"): JointPosition(
            "faucet_hinge"
        ),
        Quantity("faucet.angular_velocity", (), "rad/s", "joint", "how fast the angle grows"): JointVelocity(
            "faucet_hinge"
        ),
        Quantity("faucet.max_angle", (), "rad", "-", "angle at which the lever meets its stop"): constant(_MAX_ANGLE),
        Quantity("gripper.to_handle", (3,), "m", "world", "handle position minus gripper position"): relative(
            "faucet.handle_position", "gripper.position"
        ),
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

    def __init__(
        self,
        *,
        instruction: str,
        turned_deg: float = 60.0,
        spread_m: tuple[float, float] = (0.03, 0.03),
        spread_rad: float = 0.2,
        episode_steps: int = 100,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(instruction=instruction, episode_steps=episode_steps, aliases=aliases)
        self.turned_deg, self.spread_m, self.spread_rad = turned_deg, spread_m, spread_rad

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """The arm near home with its jaws nearly shut, the lever at rest."""
        edits = self.prop_edits(rng, n, "faucet_base", spread_m=self.spread_m, spread_rad=self.spread_rad)
        return Start(self.noisy_home(rng, n, jaw_rad=-0.1), edits=edits)

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
