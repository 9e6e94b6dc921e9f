"""A seven-joint arm with a gripper at a table with an apple, a box, a drawer and a faucet: what its tasks share.

World: the arm's base is the origin, x points forward, y left, z up, and the table's top is z = 0. An action is eight
commands in [-1, 1]: velocities of the seven joints, which hold where they are at 0, and of the fingers, whose position
set-point is part of the physics state: once closed they keep their grip.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from embodied.core.assets import sim_assets_dir
from embodied.core.quantities import Quantity
from embodied.core.rotations import quat_from_axis_angle, quat_multiply, quat_to_matrix
from embodied.core.world import World
from embodied.sim.menagerie import MenagerieRobot, with_menagerie
from embodied.sim.reads import Computed, Frame, FreeBody, JointPosition, JointVelocity, Source, StateSlice
from embodied.sim.task import Start, Task

ARM_JOINTS = tuple(f"joint{i}" for i in range(1, 8))
FINGERS = ("left_finger", "right_finger")
OBJECTS = ("apple", "box")
PANDA = MenagerieRobot(  # without its hand: ours opens wider
    file="franka_emika_panda/panda.xml",
    bodies={"arm7_base": "link0"} | {f"link{i}": f"link{i}" for i in range(1, 8)},
    joints={joint: joint for joint in ARM_JOINTS},
    contact=dict.fromkeys(("link5", "link6", "link7"), (0, 1)),
)
MAX_SPEED_RAD_S = 1.5  # of a joint, at |action| = 1
MAX_FINGER_SPEED_M_S = 0.15
FINGER_RANGE_M = 0.06
DRAWER_RANGE_M, FAUCET_RANGE_RAD = 0.15, 1.5
REST_POSITION = (0.45, 0.0, 0.25)
APPLE_RADIUS_M, BOX_HALF_M = 0.025, (0.025, 0.025, 0.05)
BOX_YAW_RAD = 0.3
LYING = np.array([np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0])  # its own z axis points away from the robot


def _set_point(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean set-point of the fingers over their range, 0 at the command that closes them firmly."""
    return np.clip(np.mean(values["fingers.set_points"], axis=-1) / FINGER_RANGE_M, 0.0, 1.0)


def _object_quantities(name: str, description: str) -> dict[Quantity, Source]:
    return {
        Quantity(f"{name}.position", (3,), "m", "world", f"centre of the {description}"): FreeBody(name, "position"),
        Quantity(f"{name}.quaternion", (4,), "1", "world", f"orientation wxyz of the {name}"): FreeBody(
            name, "quaternion"
        ),
        Quantity(f"{name}.velocity", (3,), "m/s", "world", f"linear velocity of the {name}"): FreeBody(
            name, "linear_velocity"
        ),
        Quantity(f"{name}.up", (3,), "1", "world", f"the {name}'s own z axis; (0, 0, 1) is upright"): Computed(
            lambda v: quat_to_matrix(v[f"{name}.quaternion"])[..., 2]
        ),
        Quantity(f"{name}.distance_to_palm", (), "m", "-", f"from the {name}'s centre to the palm"): Computed(
            lambda v: np.linalg.norm(v[f"{name}.position"] - v["palm.position"], axis=-1)
        ),
    }


def _arm_quantities() -> dict[Quantity, Source]:
    return {
        Quantity("palm.position", (3,), "m", "world", "point between the fingertips"): Frame("site", "palm"),
        Quantity("palm.velocity", (3,), "m/s", "world", "velocity of that point"): Frame(
            "site", "palm", "linear_velocity"
        ),
        Quantity("palm.approach_axis", (3,), "1", "world", "where the fingers point; (0, 0, -1) is down"): Frame(
            "site", "palm", "z_axis"
        ),
        Quantity("palm.closing_axis", (3,), "1", "world", "direction along which the fingers close"): Frame(
            "site", "palm", "y_axis"
        ),
        Quantity("rest_position", (3,), "m", "world", "where the palm rests, above the table"): Computed(
            lambda v: np.broadcast_to(np.array(REST_POSITION), (len(v["time"]), 3))
        ),
        Quantity("arm.joint_positions", (7,), "rad", "joint", "angles of the arm's joints"): JointPosition(ARM_JOINTS),
        Quantity("arm.joint_velocities", (7,), "rad/s", "joint", "velocities of the arm's joints"): JointVelocity(
            ARM_JOINTS
        ),
        Quantity("fingers.positions", (2,), "m", "joint", "left and right finger, 0 closed to 0.06 open"): (
            JointPosition(FINGERS)
        ),
        Quantity("fingers.openness", (), "1", "-", "0 closed to 1 open, where the fingers are"): Computed(
            lambda v: np.mean(v["fingers.positions"], axis=-1) / FINGER_RANGE_M
        ),
        Quantity("fingers.set_points", (2,), "m", "joint", "where the fingers are told to be"): StateSlice("act"),
        Quantity("fingers.set_openness", (), "1", "-", "0 closed to 1 open, where the fingers are told to be"): (
            Computed(_set_point)
        ),
    }


def _prop_quantities() -> dict[Quantity, Source]:
    return {
        Quantity("drawer.handle_position", (3,), "m", "world", "middle of the drawer's handle"): Frame(
            "site", "drawer_handle"
        ),
        Quantity("drawer.center_position", (3,), "m", "world", "middle of the drawer's inside"): Frame(
            "site", "drawer_center"
        ),
        Quantity("drawer.opening", (), "m", "joint", f"0 closed to {DRAWER_RANGE_M:g} open, towards -x"): (
            JointPosition("drawer")
        ),
        Quantity("drawer.opening_fraction", (), "1", "-", "0 closed to 1 open"): Computed(
            lambda v: v["drawer.opening"] / DRAWER_RANGE_M
        ),
        Quantity("faucet.handle_position", (3,), "m", "world", "grip of the faucet's lever"): Frame(
            "site", "faucet_handle"
        ),
        Quantity("faucet.angle", (), "rad", "joint", f"0 off to {FAUCET_RANGE_RAD:g} on; the handle goes to -y"): (
            JointPosition("faucet")
        ),
        Quantity("faucet.angle_fraction", (), "1", "-", "0 off to 1 on"): Computed(
            lambda v: v["faucet.angle"] / FAUCET_RANGE_RAD
        ),
    }


def manipulator_quantities() -> dict[Quantity, Source]:
    """What is readable on the arm and its table."""
    table = _arm_quantities()
    table |= _object_quantities("apple", f"apple, radius {APPLE_RADIUS_M:g}")
    table |= _object_quantities("box", "box, 0.05 x 0.05 x 0.1; z is 0.05 when it stands, 0.025 when it lies")
    table[Quantity("apple.distance_to_box", (), "m", "-", "between the centres of apple and box")] = Computed(
        lambda v: np.linalg.norm(v["apple.position"] - v["box.position"], axis=-1)
    )
    return table | _prop_quantities()


class ManipulatorTask(Task):
    """Base of the arm's tasks.

    Args:
        instruction: what the robot shall do.
        episode_steps: actions per episode (20 a second).
        aliases: published names of quantities.

    Attributes:
        apple_place: where the apple lies at the start: x and y, and half widths of the noise on them [m].
        box_place: the same for the box.
        box_lies: whether the box lies on its side at the start, its top away from the robot.
    """

    quantities: Mapping[Quantity, Source] = manipulator_quantities()
    observation = (
        "arm.joint_positions",
        "arm.joint_velocities",
        "fingers.positions",
        "fingers.set_points",
        "palm.position",
        "palm.approach_axis",
        "apple.position",
        "box.position",
        "box.quaternion",
        "drawer.opening_fraction",
        "faucet.angle_fraction",
    )
    proprioception = ("arm.joint_positions", "fingers.positions")
    action_description = (
        f"velocities of the seven joints from the base to the wrist (+-1 is +-{MAX_SPEED_RAD_S:g} rad/s) and, last, of"
        f" the fingers (+1 opens, -1 closes, {MAX_FINGER_SPEED_M_S:g} m/s each)"
    )
    morphology = "manipulator"
    control_reads_state = False
    apple_place = (0.5, 0.1, 0.05, 0.04)
    box_place = (0.5, -0.1, 0.05, 0.04)
    box_lies = False

    def __init__(self, *, instruction: str, episode_steps: int = 300, aliases: Mapping[str, str] | None = None) -> None:
        super().__init__(instruction=instruction, control_dt_s=0.05, episode_steps=episode_steps, aliases=aliases)

    def spec(self) -> mujoco.MjSpec:
        """The arm at its table; with `MENAGERIE_ROOT`, the links of its Panda."""
        ours = mujoco.MjSpec.from_file(str(sim_assets_dir() / "scenes" / "arm_table.xml"))
        return with_menagerie(ours, PANDA)

    @property
    def action_size(self) -> int:
        """Seven joints and the two fingers together."""
        return len(ARM_JOINTS) + 1

    def control(self, action: np.ndarray, states: np.ndarray, last_control: np.ndarray) -> np.ndarray:
        """Velocities `(n, 9)` of seven joints [rad/s] and two fingers [m/s]."""
        action = np.minimum(np.maximum(action, -1.0), 1.0)
        fingers = np.repeat(action[:, 7:], 2, axis=1) * MAX_FINGER_SPEED_M_S
        return np.concatenate([action[:, :7] * MAX_SPEED_RAD_S, fingers], axis=1)

    def apple_to_box(self, world: World) -> np.ndarray:
        """Distance from the apple's centre to the box's surface `(...)` [m], 0 inside."""
        away = world.quantity("apple.position") - world.quantity("box.position")
        inside = np.einsum("...ji,...j->...i", quat_to_matrix(world.quantity("box.quaternion")), away)
        return np.linalg.norm(np.maximum(np.abs(inside) - np.array(BOX_HALF_M), 0.0), axis=-1)

    def box_bottom(self, world: World) -> np.ndarray:
        """Height of the box's lowest corner above the table `(...)` [m]."""
        reach = np.abs(quat_to_matrix(world.quantity("box.quaternion"))[..., 2, :]) @ np.array(BOX_HALF_M)
        return world.quantity("box.position")[..., 2] - reach

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """The arm at rest, joints a little off; apple and box on the table, the box a little turned; all closed."""
        states, model = np.tile(self.home_state(), (n, 1)), self.model
        states[:, 1:8] += rng.uniform(-0.03, 0.03, (n, 7))
        for name, (x, y, dx, dy) in (("apple", self.apple_place), ("box", self.box_place)):
            column = 1 + model.joint(name).qposadr[0]
            states[:, column] = x + rng.uniform(-dx, dx, n)
            states[:, column + 1] = y + rng.uniform(-dy, dy, n)
        turn = quat_from_axis_angle(np.array([0.0, 0.0, 1.0]), rng.uniform(-BOX_YAW_RAD, BOX_YAW_RAD, n))
        box = 1 + model.joint("box").qposadr[0]
        if self.box_lies:
            states[:, box + 2], states[:, box + 3 : box + 7] = BOX_HALF_M[0], LYING
        states[:, box + 3 : box + 7] = quat_multiply(turn, states[:, box + 3 : box + 7])
        return Start(states)
