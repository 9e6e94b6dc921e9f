"""Gymnasium's MuJoCo robots (v5) on the batch engine: their models, start noise, observations and ends.

Hopper, HalfCheetah and Walker2d equal Gymnasium's own environments with default arguments; Ant and Humanoid
equal them with the switches that leave force and inertia blocks out of the observation. Deviation: quantities
are read from the state *after* the step, where Gymnasium's Ant and Humanoid take the torso's position, and so
the forward velocity, from the state one physics substep earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gymnasium
import mujoco
import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.reads import Computed, FreeBody, JointPosition, JointVelocity, Source, StateSlice
from embodied.sim.task import Start, Task

_ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"


def planar_quantities(joints: tuple[str, ...], *, start_height_m: float, clip_velocity: bool) -> dict[Quantity, Source]:
    """Quantities of a planar robot whose first joints are `rootx`, `rootz`, `rooty`; angles in rad."""
    table: dict[Quantity, Source] = {
        Quantity("torso.position_x", (), "m", "world", "forward position"): StateSlice("qpos", index=0),
        Quantity(
            "torso.position_z", (), "m", "world", f"height of the torso, {start_height_m:g} at the start"
        ): StateSlice("qpos", index=1),
        Quantity(
            "torso.pitch", (), "rad", "world", "pitch, 0 upright, positive forward; not wrapped: 2 pi after one turn"
        ): StateSlice("qpos", index=2),
        Quantity("torso.velocity_x", (), "m/s", "world", "forward velocity"): StateSlice("qvel", index=0),
        Quantity("torso.velocity_z", (), "m/s", "world", "upward velocity"): StateSlice("qvel", index=1),
        Quantity("torso.pitch_rate", (), "rad/s", "world", "pitch velocity, positive when turning forward"): StateSlice(
            "qvel", index=2
        ),
    }
    for joint in joints:
        words = joint.replace("_joint", "")
        table[Quantity(f"{joint}.angle", (), "rad", "joint", f"angle of the {words} joint")] = JointPosition(joint)
        table[Quantity(f"{joint}.velocity", (), "rad/s", "joint", f"velocity of the {words} joint")] = JointVelocity(
            joint
        )
    size = 3 + len(joints)
    table[Quantity("coordinates", (size - 1,), "m, rad", "joint", "all coordinates but the forward position")] = (
        StateSlice("qpos", 1)
    )
    table[Quantity("velocities", (size,), "m/s, rad/s", "joint", "all coordinate velocities")] = StateSlice("qvel")
    if clip_velocity:
        table[Quantity("velocities_clipped", (size,), "m/s, rad/s", "joint", "velocities within [-10, 10]")] = Computed(
            lambda values: np.clip(values["velocities"], -10, 10)
        )
    return table


def free_quantities(joints: Mapping[str, str], *, start_height_m: float) -> dict[Quantity, Source]:
    """Quantities of a robot with a free torso joint `root`; `joints` maps each joint to its range in words."""
    table: dict[Quantity, Source] = {
        Quantity(
            "torso.position", (3,), "m", "world", f"position of the torso; z is {start_height_m:g} at the start"
        ): FreeBody("root", "position"),
        Quantity("torso.quaternion", (4,), "1", "world", "orientation wxyz of the torso"): FreeBody(
            "root", "quaternion"
        ),
        Quantity("torso.velocity", (3,), "m/s", "world", "linear velocity of the torso"): FreeBody(
            "root", "linear_velocity"
        ),
        Quantity("torso.angular_velocity", (3,), "rad/s", "body", "angular velocity of the torso"): FreeBody(
            "root", "angular_velocity"
        ),
    }
    for joint, span in joints.items():
        table[Quantity(f"{joint}.angle", (), "rad", "joint", f"angle of joint {joint}{span}")] = JointPosition(joint)
        table[Quantity(f"{joint}.velocity", (), "rad/s", "joint", f"velocity of joint {joint}")] = JointVelocity(joint)
    size = 6 + len(joints)
    table[Quantity("coordinates", (size - 1,), "m, 1, rad", "joint", "height, orientation wxyz and joint angles")] = (
        StateSlice("qpos", 2)
    )
    table[Quantity("velocities", (size,), "m/s, rad/s", "joint", "all coordinate velocities")] = StateSlice("qvel")
    return table


class GymnasiumTask(Task):
    """Base of the five robots.

    Args:
        instruction: what the robot shall do.
        reset_noise: width of the start noise, as Gymnasium's `reset_noise_scale`.
        episode_steps: Gymnasium's time limit is 1000.
        target_speed_mps: mean forward speed over the episode that counts as success [m/s].
        aliases: published names of quantities.
    """

    xml: str
    frame_skip: int
    normal_velocity_noise = True
    normal_qpos_noise = False

    def __init__(
        self,
        *,
        instruction: str,
        reset_noise: float,
        episode_steps: int = 1000,
        target_speed_mps: float = 1.0,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        timestep = mujoco.MjModel.from_xml_path(str(_ASSETS / self.xml)).opt.timestep
        self.reset_noise, self.target_speed_mps = reset_noise, target_speed_mps
        super().__init__(
            instruction=instruction,
            control_dt_s=timestep * self.frame_skip,
            episode_steps=episode_steps,
            aliases=aliases,
        )

    def spec(self) -> mujoco.MjSpec:
        """Gymnasium's own model file."""
        return mujoco.MjSpec.from_file(str(_ASSETS / self.xml))

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """Gymnasium's start noise: uniform on positions; uniform or normal on velocities, by robot."""
        model, states = self.model, np.tile(self.home_state(), (n, 1))
        scale = self.reset_noise
        states[:, 1 : 1 + model.nq] += rng.uniform(-scale, scale, (n, model.nq))
        if self.normal_velocity_noise:
            states[:, 1 + model.nq :] += scale * rng.standard_normal((n, model.nv))
        else:
            states[:, 1 + model.nq :] += rng.uniform(-scale, scale, (n, model.nv))
        return Start(states)

    def forward_position(self, world: World) -> np.ndarray:
        """Forward position of the torso [m], `(...)`."""
        if "torso.position_x" in self.schema.quantities:
            return world.quantity("torso.position_x")
        return world.quantity("torso.position")[..., 0]

    def success(self, world: World) -> np.ndarray:
        """Mean forward speed since the start reached the target after at least five seconds."""
        return (self.forward_position(world) >= self.target_speed_mps * np.maximum(world.time, 5.0)) & (
            world.time >= 5.0
        )
