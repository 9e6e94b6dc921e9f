"""Velocities of a tool become joint targets: differential inverse kinematics as a quadratic program (`mink`).

Moved are the tool's place, its elevation (nose up) and its roll about the direction in which it points; what is not
asked to turn is held. What an arm cannot do is forgotten at once (with five joints it turns its heading as the place
needs), and the wanted pose leads the commanded one by a bounded way: a tool that was stopped, by a limit or by the
gate, does not jump.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from embodied.core.errors import ConfigError, UnknownNameError
from embodied.core.hand import AXES
from embodied.safety.envelope import Envelope

MOST_LEAD_M, MOST_LEAD_RAD = 0.01, 0.1
TURNING_WEIGHT_M = 0.02  # what a radian counts beside a metre
DAMPING = 1e-6
STEEP = 0.3  # horizontal part of a unit vector below which it has no heading of its own
IMPOSSIBLE = 1e-2  # of the best direction: one that the joints move less is left out


class ToolMotion:
    """One arm's tool, moved by velocities.

    Args:
        model: contains the robot; is copied.
        envelope: its joints, their bounds and speeds.
        tool: site that is moved.
        dt_s: control period [s].
        linear_mps: speed at share 1.
        angular_radps: of pitch and roll at share 1.
        gripper_radps: of the gripper's joint at share 1.
        ramp_s: from standing to share 1, and back [s].
        approach: axis of the site along which the tool points, `x`, `y` or `z`.
        gripper: the gripper's joint; None for none.

    Raises:
        ConfigError: `mink` is not installed; a number that is not positive.
        UnknownNameError: no such joint or site.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        envelope: Envelope,
        tool: str,
        dt_s: float,
        *,
        linear_mps: float,
        angular_radps: float,
        gripper_radps: float,
        ramp_s: float,
        approach: str = "x",
        gripper: str | None = None,
    ) -> None:
        mink = load_mink()
        if not all(x > 0.0 for x in (dt_s, linear_mps, angular_radps, gripper_radps, ramp_s)):
            raise ConfigError("linear_mps, angular_radps, gripper_radps and ramp_s must be positive")
        joints = envelope.joint_names
        if gripper is not None and gripper not in joints:
            raise UnknownNameError("joint", gripper, joints, "the envelope (gripper)")
        self._dt_s, self._ramp_s, self._envelope = dt_s, ramp_s, envelope
        self._speeds = np.array([linear_mps] * 3 + [angular_radps] * 2 + [gripper_radps])
        self._gripper = None if gripper is None else joints.index(gripper)
        own = copy.copy(model)
        self._q = np.array([own.joint(joint).qposadr[0] for joint in joints])
        for joint, low, high in zip(joints, envelope.low_rad, envelope.high_rad, strict=True):
            own.jnt_range[own.joint(joint).id] = low, high
        self._configuration = mink.Configuration(own)
        arm = [joint for joint in joints if joint != gripper]
        speeds = dict.fromkeys((own.joint(i).name for i in range(own.njnt) if own.jnt_type[i] >= 2), 0.0)
        speeds |= {joint: envelope.joints[joint].max_velocity_radps for joint in arm}
        self._limits = [mink.ConfigurationLimit(own), mink.VelocityLimit(own, speeds)]
        dofs = np.array([own.joint(joint).dofadr[0] for joint in arm])
        self._task = _tool_task(tool, "xyz".index(approach), dofs)
        self.still()

    def still(self) -> None:
        """Forgets all motion: the next command begins from standstill."""
        self._share = np.zeros(len(AXES))
        self._task.pose = None

    def step(self, velocity: Sequence[float], last_command: Sequence[float]) -> list[float]:
        """Joint targets one control period after the last command.

        Args:
            velocity: wanted shares of the top speeds, in the order of `AXES`.
            last_command: `(J,)` [rad].

        Returns:
            `(J,)` [rad]; the last command itself while nothing is asked for.
        """
        ramp = self._dt_s / self._ramp_s
        wanted = np.clip(np.asarray(velocity, float), -1.0, 1.0)
        self._share = self._share + np.clip(wanted - self._share, -ramp, ramp)
        target = np.asarray(last_command, float).copy()
        if self._gripper is not None:
            low, high = (b[self._gripper] for b in (self._envelope.low_rad, self._envelope.high_rad))
            moved = target[self._gripper] + self._dt_s * self._share[5] * self._speeds[5]
            target[self._gripper] = np.clip(moved, low, high)
        if not np.any(self._share[:5]):
            self._task.pose = None
            return target.tolist()
        q = self._configuration.q.copy()
        q[self._q] = last_command
        self._configuration.update(q)
        self._task.lead(self._configuration, self._dt_s * self._share[:5] * self._speeds[:5])
        found = self._solved()
        arm = np.arange(len(target)) != (-1 if self._gripper is None else self._gripper)
        target[arm] = found[self._q][arm]
        return target.tolist()

    def _solved(self) -> np.ndarray:
        mink = load_mink()
        try:
            speed = mink.solve_ik(
                self._configuration, [self._task], self._dt_s, solver="daqp", damping=DAMPING, limits=self._limits
            )
        except mink.NoSolutionFound:  # a command outside its bounds has no way on: stand
            return self._configuration.q
        return self._configuration.integrate(speed, self._dt_s)


def load_mink() -> Any:
    """The package.

    Raises:
        ConfigError: it is not installed; says which extra has it.
    """
    try:
        import mink
    except ImportError:
        raise ConfigError(
            "moving the tool by velocities needs mink: pip install 'embodied-control[teleop]' -c constraints.txt"
        ) from None
    return mink


def _tool_task(tool: str, approach: int, joints: np.ndarray) -> Any:
    """A task of `mink`: the pose of a site; `joints` are the degrees of freedom that can move it."""
    mink = load_mink()

    class ToolTask(mink.Task):
        """Error and Jacobian in the world frame: place [m], then turning [rad]."""

        def __init__(self) -> None:
            super().__init__(np.array([1.0] * 3 + [TURNING_WEIGHT_M] * 3))
            self.pose: tuple[np.ndarray, np.ndarray] | None = None

        def _place(self, configuration: Any) -> tuple[np.ndarray, np.ndarray]:
            at = configuration.get_transform_frame_to_world(tool, "site")
            return at.translation(), at.rotation().as_matrix()

        def lead(self, configuration: Any, moved: np.ndarray) -> None:
            """Moves the wanted pose by `(5,)` [m, rad] on from what is still wanted of the last one."""
            position, rotation = self._place(configuration)
            left = np.zeros(6) if self.pose is None else -self.compute_error(configuration)
            left = self._possible(left, configuration) * self._share(left)
            ahead = rotation[:, approach]
            side = np.cross(ahead, (0.0, 0.0, 1.0))  # turning about it lifts the nose
            if np.linalg.norm(side) < STEEP:
                side = np.array([position[1], -position[0], 0.0])
            side = side / max(float(np.linalg.norm(side)), 1e-9)
            turn = left[3:] + side * moved[3] + ahead * moved[4]
            self.pose = position + left[:3] + moved[:3], _turn(turn) @ rotation

        def _possible(self, left: np.ndarray, configuration: Any) -> np.ndarray:
            """Without what the arm cannot do: of five joints, one direction is never possible."""
            weighted = self.cost[:, None] * self.compute_jacobian(configuration)[:, joints]
            directions, values, _ = np.linalg.svd(weighted, full_matrices=False)
            able = directions[:, values > IMPOSSIBLE * values[0]]
            return (able @ (able.T @ (self.cost * left))) / self.cost

        def _share(self, left: np.ndarray) -> float:
            """So much of it that the lead stays bounded."""
            away, turned = float(np.linalg.norm(left[:3])), float(np.linalg.norm(left[3:]))
            return min(1.0, MOST_LEAD_M / max(away, 1e-12), MOST_LEAD_RAD / max(turned, 1e-12))

        def compute_error(self, configuration: Any) -> np.ndarray:
            """`(6,)`, with mink's sign: where the tool is less where it shall be."""
            position, rotation = self._place(configuration)
            assert self.pose is not None
            there, turned = self.pose
            return -np.concatenate([there - position, _turning(turned @ rotation.T)])

        def compute_jacobian(self, configuration: Any) -> np.ndarray:
            """`(6, nv)`."""
            rotation = self._place(configuration)[1]
            body = configuration.get_frame_jacobian(tool, "site")  # in the tool's own axes
            return np.vstack([rotation @ body[:3], rotation @ body[3:]])

    return ToolTask()


def _turn(vector: np.ndarray) -> np.ndarray:
    """Rotation matrix of a rotation vector `(3,)` [rad]."""
    quaternion, matrix, angle = np.zeros(4), np.zeros(9), float(np.linalg.norm(vector))
    mujoco.mju_axisAngle2Quat(quaternion, vector / angle if angle else np.array([1.0, 0.0, 0.0]), angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def _turning(matrix: np.ndarray) -> np.ndarray:
    """Rotation vector `(3,)` [rad] of a rotation matrix."""
    quaternion, vector = np.zeros(4), np.zeros(3)
    mujoco.mju_mat2Quat(quaternion, matrix.ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector
