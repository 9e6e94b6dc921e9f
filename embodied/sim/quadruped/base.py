"""A 12-joint walking robot with a Go2's lengths, masses, limits and torques: what its tasks share.

Actions are joint targets: 0 is the standing pose, +-1 the joint's limits, linear in between on either side.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import mujoco
import numpy as np

from embodied.core.assets import sim_assets_dir
from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.menagerie import MenagerieRobot, with_menagerie
from embodied.sim.reads import CenterOfMass, Computed, Frame, FreeBody, JointPosition, JointVelocity, Source, StateSlice
from embodied.sim.task import Start, Task

LEGS = ("front_left", "front_right", "back_left", "back_right")
JOINTS = ("abduction", "hip", "knee")
STANDING_M, DROP_M = 0.26, 0.01
_GO2_LEGS = dict(zip(LEGS, ("FL", "FR", "RL", "RR"), strict=True))
_LINKS = ("hip", "thigh", "calf")
GO2 = MenagerieRobot(
    file="unitree_go2/go2.xml",
    bodies={"torso": "base"} | {f"{leg}_{k}": f"{its}_{k}" for leg, its in _GO2_LEGS.items() for k in _LINKS},
    joints={
        f"{leg}_{joint}": f"{its}_{link}_joint"
        for leg, its in _GO2_LEGS.items()
        for joint, link in zip(JOINTS, _LINKS, strict=True)
    },
    contact=dict.fromkeys(["torso", *(f"{leg}_{link}" for leg in LEGS for link in _LINKS)], (2, 1)),
)


def heading(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Direction of the torso's x axis on the ground, 0 along world x, counter-clockwise `(...)` [rad]."""
    w, x, y, z = np.moveaxis(values["torso.quaternion"], -1, 0)
    return np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def pitch(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Angle of the torso's x axis above the ground, positive nose up `(...)` [rad]."""
    w, x, y, z = np.moveaxis(values["torso.quaternion"], -1, 0)
    return -np.arcsin(np.clip(2.0 * (w * y - z * x), -1.0, 1.0))


def roll(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Turn about the torso's x axis, positive to the right `(...)` [rad], -pi to pi."""
    w, x, y, z = np.moveaxis(values["torso.quaternion"], -1, 0)
    return np.arctan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y))


def quadruped_quantities() -> dict[Quantity, Source]:
    """What is readable on the robot."""
    table: dict[Quantity, Source] = {
        Quantity(
            "torso.position", (3,), "m", "world", f"position of the torso; z is {STANDING_M:g} when it stands"
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
        Quantity("torso.heading", (), "rad", "world", "direction of the nose, 0 along x, counter-clockwise"): Computed(
            heading
        ),
        Quantity("torso.pitch", (), "rad", "world", "nose above the horizon, positive up"): Computed(pitch),
        Quantity("torso.roll", (), "rad", "world", "roll, positive to the right side, -pi to pi"): Computed(roll),
        Quantity("torso.up", (3,), "1", "world", "the torso's own z axis; (0, 0, 1) is upright"): Frame(
            "body", "torso", "z_axis"
        ),
        Quantity("body_center.position", (3,), "m", "world", "centre of mass of the robot"): CenterOfMass("torso"),
    }
    for leg in LEGS:
        words = leg.replace("_", " ")
        joints = [f"{leg}_{joint}" for joint in JOINTS]
        table |= {
            Quantity(f"{leg}_foot.position", (3,), "m", "world", f"centre of the {words} foot, radius 0.022"): (
                Frame("site", f"{leg}_foot")
            ),
            Quantity(f"{leg}_leg.angles", (3,), "rad", "joint", f"{words} abduction, hip, knee"): JointPosition(joints),
            Quantity(f"{leg}_leg.velocities", (3,), "rad/s", "joint", f"velocities of {words} abduction, hip, knee"): (
                JointVelocity(joints)
            ),
        }
    table[Quantity("coordinates", (17,), "m, 1, rad", "joint", "height, orientation wxyz, joint angles")] = StateSlice(
        "qpos", 2
    )
    table[Quantity("velocities", (18,), "m/s, rad/s", "joint", "all coordinate velocities")] = StateSlice("qvel")
    return table


class QuadrupedTask(Task):
    """Base of the quadruped's tasks.

    Args:
        instruction: what the robot shall do.
        episode_steps: actions per episode (50 a second).
        aliases: published names of quantities.
    """

    quantities: Mapping[Quantity, Source] = quadruped_quantities()
    observation = ("coordinates", "velocities")
    proprioception = (
        "torso.up",
        "torso.angular_velocity",
        *(f"{leg}_leg.{sensed}" for leg in LEGS for sensed in ("angles", "velocities")),
    )
    action_description = (
        "targets of the twelve joints in the order front left, front right, back left, back right, each abduction, hip,"
        " knee; 0 is the standing pose, +-1 the joint's limits"
    )
    morphology = "quadruped"
    control_reads_state = False

    def __init__(
        self, *, instruction: str, episode_steps: int = 300, aliases: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(
            instruction=instruction, control_dt_s=0.02, episode_steps=episode_steps, sim_dt_s=0.005, aliases=aliases
        )

    def spec(self) -> mujoco.MjSpec:
        """The robot on a plane; with `MENAGERIE_ROOT`, the links of its Go2."""
        ours = mujoco.MjSpec.from_file(str(sim_assets_dir() / "robots" / "quadruped.xml"))
        return with_menagerie(ours, GO2)

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """Standing, joints and place a little off."""
        states, model = np.tile(self.home_state(), (n, 1)), self.model
        states[:, 8 : 1 + model.nq] += rng.uniform(-0.03, 0.03, (n, model.nq - 7))
        states[:, 1:3] += rng.uniform(-0.02, 0.02, (n, 2))
        states[:, 3] += DROP_M * rng.uniform(0.0, 1.0, n) - DROP_M
        return Start(states)

    @cached_property
    def _spans(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        low, high = self.model.actuator_ctrlrange.T
        home = self.model.key_ctrl[0].copy()
        return home, home - low, high - home

    def control(self, action: np.ndarray, states: np.ndarray, last_control: np.ndarray) -> np.ndarray:
        """Joint targets [rad] `(n, 12)`."""
        home, below, above = self._spans
        action = np.minimum(np.maximum(action, -1.0), 1.0)
        return home + np.where(action < 0.0, action * below, action * above)

    def fell(self, world: World) -> np.ndarray:
        """Whether the torso is upside down."""
        return world.quantity("torso.up")[..., 2] < 0.0

    def stands(self, world: World) -> np.ndarray:
        """Whether the torso is upright and at least 0.18 m high."""
        return (world.quantity("torso.position")[..., 2] > 0.18) & (world.quantity("torso.up")[..., 2] > 0.9)

    @staticmethod
    def turned(start: Start, angle_rad: np.ndarray) -> Start:
        """The start with each robot turned about the vertical `(n,)`."""
        start.states[:, 4:8] = 0.0
        start.states[:, 4], start.states[:, 7] = np.cos(angle_rad / 2), np.sin(angle_rad / 2)
        return start
