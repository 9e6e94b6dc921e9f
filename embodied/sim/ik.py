"""Differential inverse kinematics of an arm in a MuJoCo model: tool position first, approach direction second.

Damped least squares (Nakamura and Hanafusa 1986; Wampler 1986), one row of a batch at a time: this serves
scripted experts, which are references, not the inner loop of training.
"""

from __future__ import annotations

import mujoco
import numpy as np

from embodied.sim.reads import joint_id


class ArmKinematics:
    """Jacobians of one site with respect to an arm's joints.

    Args:
        model: any model that contains the arm.
        joints: names of the J arm joints.
        site: name of the tool site; its x axis is the approach direction.
        damping: damping of the least squares.
    """

    def __init__(self, model: mujoco.MjModel, joints: tuple[str, ...], site: str, damping: float = 0.03) -> None:
        self._model, self._data = model, mujoco.MjData(model)
        self._qpos = np.array([model.jnt_qposadr[joint_id(model, j)] for j in joints])
        self._dofs = np.array([model.jnt_dofadr[joint_id(model, j)] for j in joints])
        self._site, self._damping = model.site(site).id, damping
        self.low, self.high = model.jnt_range[[joint_id(model, j) for j in joints]].T

    def forward(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tool position `(3,)` [m] and approach axis `(3,)` in the world frame at joint angles `(J,)` [rad]."""
        rotation = self.frame(angles)
        return self._data.site_xpos[self._site].copy(), rotation[:, 0].copy()

    def frame(self, angles: np.ndarray) -> np.ndarray:
        """Axes of the tool in the world frame, as the columns of a rotation matrix `(3, 3)`."""
        self._data.qpos[self._qpos] = angles
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.site_xmat[self._site].reshape(3, 3).copy()

    def rates(
        self,
        angles: np.ndarray,
        position_error: np.ndarray,
        axis_target: np.ndarray | None = None,
        axis_weight: float = 0.15,
    ) -> np.ndarray:
        """Joint displacements that reduce the errors to first order.

        Args:
            angles: joint angles `(J,)` [rad].
            position_error: wanted displacement of the tool `(3,)` [m], world frame.
            axis_target: wanted approach axis `(3,)`, a unit vector in the world frame, or None for any.
            axis_weight: weight of the direction [m/rad] against the position.

        Returns:
            Joint displacements `(J,)` [rad].
        """
        _, axis = self.forward(angles)
        mujoco.mj_comPos(self._model, self._data)
        linear, angular = np.zeros((3, self._model.nv)), np.zeros((3, self._model.nv))
        mujoco.mj_jacSite(self._model, self._data, linear, angular, self._site)
        jacobian, error = linear[:, self._dofs], position_error
        if axis_target is not None:
            jacobian = np.vstack([jacobian, axis_weight * angular[:, self._dofs]])
            error = np.concatenate([error, axis_weight * np.cross(axis, axis_target)])
        square = jacobian @ jacobian.T + self._damping**2 * np.eye(len(error))
        return jacobian.T @ np.linalg.solve(square, error)

    def solve(
        self,
        angles: np.ndarray,
        position: np.ndarray,
        axis_target: np.ndarray | None = None,
        *,
        iterations: int = 100,
        tolerance_m: float = 5e-4,
    ) -> tuple[np.ndarray, float]:
        """Joint angles that bring the tool to `position`, and the position error that is left [m]."""
        angles = np.clip(np.array(angles, dtype=float), self.low, self.high)
        for _ in range(iterations):
            error = position - self.forward(angles)[0]
            if np.linalg.norm(error) < tolerance_m and axis_target is None:
                break
            step = self.rates(angles, error, axis_target)
            angles = np.clip(angles + np.clip(step, -0.2, 0.2), self.low, self.high)
        return angles, float(np.linalg.norm(position - self.forward(angles)[0]))
