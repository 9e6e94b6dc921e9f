"""What all tabletop tasks share: the SO-101 arm, its quantities, its velocity commands, a scripted-motion base.

An action is six commands in [-1, 1]: velocities of the five arm joints and of the gripper. The servo integrates
them into a position set-point, which is part of the physics state.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from embodied.core.assets import sim_assets_dir
from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.safety.kernels import limit_batch
from embodied.sim.ik import ArmKinematics
from embodied.sim.reads import Computed, Frame, JointPosition, JointVelocity, Source, StateSlice
from embodied.sim.task import Task

ARM_JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
JOINTS = (*ARM_JOINTS, "gripper")
GRIPPER_LOW, GRIPPER_HIGH = -0.17453, 1.74533
MAX_SPEED = np.array([2.0, 2.0, 2.0, 2.0, 2.0, 3.0])  # rad/s at |action| = 1
MAX_LEAD = np.array([0.35, 0.35, 0.35, 0.35, 0.35, 0.5])  # rad by which a set-point may run ahead of its joint


def arm_quantities() -> dict[Quantity, Source]:
    """The quantities that every tabletop task has."""
    return {
        Quantity("gripper.position", (3,), "m", "world", "grasp point between the jaw tips"): Frame("site", "tool"),
        Quantity("gripper.velocity", (3,), "m/s", "world", "velocity of the grasp point"): Frame(
            "site", "tool", "linear_velocity"
        ),
        Quantity(
            "gripper.approach_axis", (3,), "1", "world", "unit vector along which the jaws point"
        ): Frame("site", "tool", "x_axis"),
        Quantity("gripper.jaw_angle", (), "rad", "joint", "angle of the moving jaw"): JointPosition("gripper"),
        Quantity(
            "gripper.openness", (), "1", "-", "0 fully closed to 1 fully open"
        ): Computed(
            lambda v: np.clip((v["gripper.jaw_angle"] - GRIPPER_LOW) / (GRIPPER_HIGH - GRIPPER_LOW), 0.0, 1.0)
        ),
        Quantity("arm.joint_positions", (5,), "rad", "joint", "angles of the five arm joints"): JointPosition(
            ARM_JOINTS
        ),
        Quantity("arm.joint_velocities", (5,), "rad/s", "joint", "velocities of the five arm joints"): JointVelocity(
            ARM_JOINTS
        ),
        Quantity(
            "arm.servo_lead", (6,), "rad", "joint", "set-point minus angle of the five joints and the gripper"
        ): _ServoLead(),
    }


class _ServoLead:
    """Set-point (actuator state) minus joint angle: what makes the servos push."""

    def install(self, spec: mujoco.MjSpec, name: str) -> None:
        """Nothing to add to the model."""

    def bind(self, model: mujoco.MjModel, name: str):
        targets = StateSlice("act", 0, 6).bind(model, name)
        angles = JointPosition(JOINTS).bind(model, name)
        return lambda frames, values: targets(frames, values) - angles(frames, values)


ARM_OBSERVATION = (
    "arm.joint_positions",
    "arm.joint_velocities",
    "arm.servo_lead",
    "gripper.jaw_angle",
    "gripper.position",
    "gripper.approach_axis",
)


class TabletopTask(Task):
    """Base of the tabletop tasks.

    Args:
        instruction: what the robot shall do.
        control_dt_s: time between two actions [s].
        episode_steps: actions per episode.
        aliases: published names of quantities.
    """

    scene: str
    action_description = (
        "velocities of the joints shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, wrist_roll (+-1 is +-2 rad/s)"
        " and, last, of the gripper's moving jaw (+1 opens, -1 closes)"
    )

    def __init__(
        self,
        *,
        instruction: str,
        control_dt_s: float = 0.05,
        episode_steps: int = 100,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            instruction=instruction, control_dt_s=control_dt_s, episode_steps=episode_steps, aliases=aliases
        )

    def spec(self) -> mujoco.MjSpec:
        """The scene file."""
        return mujoco.MjSpec.from_file(str(sim_assets_dir() / "scenes" / f"{self.scene}.xml"))

    def control(self, action: np.ndarray, states: np.ndarray, last_control: np.ndarray) -> np.ndarray:
        """Joint velocity commands `(n, 6)` [rad/s] through the gate's limits.

        A set-point never leaves the joint's range and never runs further ahead of its joint than `MAX_LEAD`, so
        that pushing against something does not wind up.
        """
        model = self.model
        setpoint = states[:, 1 + model.nq + model.nv :][:, :6]
        angle = states[:, 1 + self._joint_columns]
        low, high = model.actuator_actrange[:6].T
        wanted = setpoint + np.clip(action, -1, 1) * MAX_SPEED * self.control_dt_s
        wanted = np.clip(wanted, np.minimum(angle - MAX_LEAD, setpoint), np.maximum(angle + MAX_LEAD, setpoint))
        _, velocity, _ = limit_batch(
            wanted,
            setpoint,
            np.zeros_like(setpoint),
            low=low,
            high=high,
            max_velocity=MAX_SPEED,
            max_acceleration=np.full(6, np.inf),
            dt_s=self.control_dt_s,
        )
        return velocity

    @property
    def _joint_columns(self) -> np.ndarray:
        if not hasattr(self, "_columns"):
            self._columns = np.array([self.model.joint(j).qposadr[0] for j in JOINTS])
        return self._columns

    def noisy_home(self, rng: np.random.Generator, n: int, spread_rad: float = 0.05) -> np.ndarray:
        """Full physics states `(n, n_state)`: the home pose with uniform noise on the arm's joints and set-points."""
        states = np.tile(self.home_state(), (n, 1))
        noise = rng.uniform(-spread_rad, spread_rad, (n, 6))
        states[:, 1 + self._joint_columns] += noise
        start = 1 + self.model.nq + self.model.nv
        states[:, start : start + 6] += noise
        return states


class ScriptedExpert:
    """A phase machine per environment: subclasses say where the tool shall go next.

    Args:
        task: the task; its model gives the kinematics.
        n: number of environments.
    """

    def __init__(self, task: TabletopTask, n: int) -> None:
        self.task, self.n = task, n
        self.arm = ArmKinematics(task.model, ARM_JOINTS, "tool")
        self.phase = np.zeros(n, dtype=int)
        self.steps_in_phase = np.zeros(n, dtype=int)

    def reset(self, rows: np.ndarray) -> None:
        """New episodes in the environments `rows`."""
        self.phase[rows] = 0
        self.steps_in_phase[rows] = 0

    def target(self, row: int, world: World) -> tuple[np.ndarray, np.ndarray | None, float]:
        """Tool position `(3,)` [m], approach axis `(3,)` or None, and jaw angle [rad] wanted in environment `row`.

        `world` has no batch axis. May advance `self.phase[row]` by `self.next_phase(row)`.
        """
        raise NotImplementedError

    def next_phase(self, row: int) -> None:
        """Moves environment `row` on to its next phase."""
        self.phase[row] += 1
        self.steps_in_phase[row] = 0

    def act(self, world: World) -> np.ndarray:
        """Actions `(n, 6)` in [-1, 1]."""
        actions = np.zeros((self.n, 6))
        for row in range(self.n):
            one = world.rows(row)
            position, axis, jaw = self.target(row, one)
            self.steps_in_phase[row] += 1
            error = position - one.quantity("gripper.position")
            length = np.linalg.norm(error)
            step = self.arm.rates(one.quantity("arm.joint_positions"), error * min(1.0, 0.08 / max(length, 1e-9)), axis)
            lead = one.quantity("arm.servo_lead")
            actions[row, :5] = (step - 0.3 * lead[:5]) / (MAX_SPEED[:5] * self.task.control_dt_s)
            actions[row, 5] = (jaw - one.quantity("gripper.jaw_angle") - lead[5]) / (
                MAX_SPEED[5] * self.task.control_dt_s
            )
        return np.clip(actions, -1, 1)
