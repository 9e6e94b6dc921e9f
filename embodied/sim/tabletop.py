"""What all tabletop tasks share: the SO-101 arm, its quantities, its velocity commands, a scripted-motion base.

An action is six commands in [-1, 1]: velocities of the five arm joints and of the gripper. The servo integrates
them into a position set-point, which is part of the physics state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import mujoco
import numpy as np

from embodied.core.assets import sim_assets_dir
from embodied.core.errors import ConfigError
from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.safety.envelope import Envelope
from embodied.safety.kernels import limit_batch
from embodied.sim.ik import ArmKinematics
from embodied.sim.reads import Computed, Frame, JointPosition, JointVelocity, Source, StateSlice
from embodied.sim.task import Task

ARM_JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
JOINTS = (*ARM_JOINTS, "gripper")
GRIPPER_LOW, GRIPPER_HIGH = -0.17453, 1.74533
MAX_SPEED = np.array([2.0, 2.0, 2.0, 2.0, 2.0, 3.0])  # rad/s at |action| = 1
UPRIGHT_ROLL = 0.0487  # wrist_roll [rad] that puts the jaws in the arm's vertical plane
SHOULDER_X = 0.0388  # where the vertical pan axis stands [m], world frame
MAX_LEAD = np.array([0.35, 0.35, 0.35, 0.35, 0.35, 0.5])  # rad by which a set-point may run ahead of its joint


def arm_quantities() -> dict[Quantity, Source]:
    """The quantities that every tabletop task has."""
    return {
        Quantity("gripper.position", (3,), "m", "world", "grasp point between the jaw tips"): Frame("site", "tool"),
        Quantity("gripper.velocity", (3,), "m/s", "world", "velocity of the grasp point"): Frame(
            "site", "tool", "linear_velocity"
        ),
        Quantity("gripper.approach_axis", (3,), "1", "world", "unit vector along which the jaws point"): Frame(
            "site", "tool", "x_axis"
        ),
        Quantity("gripper.jaw_angle", (), "rad", "joint", "angle of the moving jaw"): JointPosition("gripper"),
        Quantity("gripper.openness", (), "1", "-", "0 fully closed to 1 fully open"): Computed(
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


def relative(to: str, origin: str) -> Computed:
    """The vector from the quantity `origin` to the quantity `to`."""
    return Computed(lambda v: v[to] - v[origin])


_AT_REST = np.zeros(6)


def constant(value: float) -> Computed:
    """The same number in every world."""
    return Computed(lambda v: np.full(len(v["time"]), value))


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
    robot = "so101"
    proprioception = ("arm.joint_positions", "gripper.jaw_angle", "arm.joint_velocities", "arm.servo_lead")
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

    robot_joints = JOINTS

    def bound_by(self, envelope: Envelope) -> None:
        """Keeps positions, velocities and accelerations of the joints' commands within an envelope as well.

        A policy then trains under the clamps of the gate that it will meet: the same kernel, at the task's rate.
        Workspace, self-collision, torque and temperature stay the gate's alone.
        """
        if envelope.joint_names != self.robot_joints:
            raise ConfigError(
                f"task '{self.name}' commands {', '.join(self.robot_joints)}; the envelope bounds"
                f" {', '.join(envelope.joint_names)}"
            )
        self._bounds = {
            "low": np.maximum(self._bounds["low"], envelope.low_rad),
            "high": np.minimum(self._bounds["high"], envelope.high_rad),
            "max_velocity": np.minimum(MAX_SPEED, envelope.of("max_velocity_radps")),
            "max_acceleration": np.array(envelope.of("max_acceleration_radps2")),
        }

    def control(self, action: np.ndarray, states: np.ndarray, last_control: np.ndarray) -> np.ndarray:
        """Joint velocity commands `(n, 6)` [rad/s] through the gate's limits."""
        return self._limited(action, states, last_control[:, :6], self._bounds)[1]

    def joint_targets(self, action: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Set-points `(n, 6)` [rad] that the servos have reached one control step after these actions.

        How fast they may speed up is left to the gate, which knows how fast they are.
        """
        return self._limited(action, states, _AT_REST, {**self._bounds, "max_acceleration": None})[0]

    def _limited(
        self, action: np.ndarray, states: np.ndarray, velocity: np.ndarray, bounds: Mapping[str, np.ndarray | None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The next set-points [rad] and their velocities [rad/s], each `(n, 6)`.

        A set-point never leaves the joint's range and never runs further ahead of its joint than `MAX_LEAD`, so
        that pushing against something does not wind up.
        """
        setpoints, angles = self._servos
        setpoint, angle = states[:, setpoints], states[:, angles]
        wanted = setpoint + np.minimum(np.maximum(action, -1.0), 1.0) * (MAX_SPEED * self.control_dt_s)
        wanted = np.maximum(wanted, np.minimum(angle - MAX_LEAD, setpoint))
        wanted = np.minimum(wanted, np.maximum(angle + MAX_LEAD, setpoint))
        return limit_batch(wanted, setpoint, velocity, dt_s=self.control_dt_s, **bounds)

    @cached_property
    def _bounds(self) -> dict[str, Any]:
        """What bounds the set-points: the joints' range [rad] and their greatest speed [rad/s]."""
        low, high = self.model.actuator_actrange[:6].T.copy()
        return {"low": low, "high": high, "max_velocity": MAX_SPEED, "max_acceleration": None}

    @cached_property
    def _servos(self) -> tuple[slice, slice | np.ndarray]:
        """Where set-points and joint angles stand in a state."""
        model, columns = self.model, 1 + self._joint_columns
        start = 1 + model.nq + model.nv
        together = (np.diff(columns) == 1).all()  # a slice is read without a copy
        angles = slice(int(columns[0]), int(columns[-1]) + 1) if together else columns
        return slice(start, start + 6), angles

    @property
    def _joint_columns(self) -> np.ndarray:
        if not hasattr(self, "_columns"):
            self._columns = np.array([self.model.joint(j).qposadr[0] for j in JOINTS])
        return self._columns

    def noisy_home(
        self,
        rng: np.random.Generator,
        n: int,
        spread_rad: float = 0.05,
        *,
        arm_rad: Sequence[float] | None = None,
        jaw_rad: float | None = None,
    ) -> np.ndarray:
        """Full physics states `(n, n_state)`: the home pose with uniform noise on the arm's joints and set-points.

        Args:
            rng: source of randomness.
            n: number of states.
            spread_rad: half width of the noise [rad].
            arm_rad: angles of the five arm joints before the noise [rad]; None takes the home pose's.
            jaw_rad: angle of the moving jaw before the noise [rad]; None takes the home pose's.
        """
        states = np.tile(self.home_state(), (n, 1))
        start = 1 + self.model.nq + self.model.nv
        pose = states[0, 1 + self._joint_columns]
        if arm_rad is not None:
            pose[:5] = arm_rad
        if jaw_rad is not None:
            pose[5] = jaw_rad
        pose = pose + rng.uniform(-spread_rad, spread_rad, (n, 6))
        states[:, 1 + self._joint_columns] = pose
        states[:, start : start + 6] = pose
        return states


class ScriptedExpert:
    """A phase machine per environment, closed loop: subclasses say at every step where the tool shall go next.

    Args:
        task: the task; its model gives the kinematics.
        n: number of environments.

    Attributes:
        phase: what each environment is at `(n,)`, 0 at the start of an episode.
        steps_in_phase: steps since the phase began `(n,)`.
        roll: wanted angle of the wrist roll joint `(n,)` [rad].
        stride_m: longest displacement of the tool commanded at once `(n,)` [m].
    """

    def __init__(self, task: TabletopTask, n: int) -> None:
        self.task, self.n = task, n
        self.arm = ArmKinematics(task.model, ARM_JOINTS, "tool")
        self.phase = np.zeros(n, dtype=int)
        self.steps_in_phase = np.zeros(n, dtype=int)
        self.roll, self.stride_m = np.full(n, UPRIGHT_ROLL), np.full(n, 0.05)

    def reset(self, rows: np.ndarray) -> None:
        """New episodes in the environments `rows`."""
        self.phase[rows] = 0
        self.steps_in_phase[rows] = 0
        self.roll[rows], self.stride_m[rows] = UPRIGHT_ROLL, 0.05

    def target(self, row: int, world: World) -> tuple[np.ndarray, float | None, float]:
        """Where environment `row` shall go: tool position `(3,)` [m], pitch below horizontal [rad] or None, jaw [rad].

        `world` has no batch axis. May call `self.next_phase(row)` and set `self.roll[row]`.
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
            position, pitch, jaw = self.target(row, one)
            self.steps_in_phase[row] += 1
            actions[row] = self._towards(row, one, position, pitch, jaw)
        return np.clip(actions, -1, 1)

    def _towards(self, row: int, one: World, position: np.ndarray, pitch: float | None, jaw: float) -> np.ndarray:
        """Joint velocities that lead to a tool pose, all slowed alike where one would be too fast."""
        angles, tool = one.quantity("arm.joint_positions"), one.quantity("gripper.position")
        error = position - tool
        error = error * min(1.0, self.stride_m[row] / max(float(np.linalg.norm(error)), 1e-9))
        axis = None
        if pitch is not None:
            azimuth = np.arctan2(tool[1], tool[0] - SHOULDER_X)
            level = np.cos(pitch)
            axis = np.array([level * np.cos(azimuth), level * np.sin(azimuth), -np.sin(pitch)])
        step = self.arm.rates(angles, error, axis)
        step[4] = self.roll[row] - angles[4]
        lead = one.quantity("arm.servo_lead")
        span = MAX_SPEED * self.task.control_dt_s
        arm = (step - 0.3 * lead[:5]) / span[:5]
        arm = arm / max(1.0, float(np.abs(arm[:4]).max()))
        return np.append(arm, (jaw - one.quantity("gripper.jaw_angle") - lead[5]) / span[5])


def comfortable_pitch(x: float) -> float:
    """Pitch below horizontal [rad] at which the arm reaches down to the table at `x` [m] forward of the base."""
    return float(np.radians(np.clip(75.0 + 150.0 * (0.27 - x), 65.0, 95.0)))


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Distance between two points [m]."""
    return float(np.linalg.norm(a - b))
