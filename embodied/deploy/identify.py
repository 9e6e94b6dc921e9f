"""Joint-level system identification: friction, damping and delay of a real arm's servos, from a recorded motion.

The arm plays sums of sines through the gate; the model is simulated with the goals that were really sent, and dry
friction and damping of every joint (Levenberg-Marquardt on the simulated trajectory, numerical derivatives) and one
common delay (in whole physics steps, by trying all) are fitted to the measured angles and torques.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from embodied.core.errors import ConfigError

FREQUENCIES_HZ = (0.25, 0.55, 1.1)
AMPLITUDES_RAD = (0.25, 0.12, 0.05)
MOST_DELAY_S = 0.1
ANGLE_UNIT_RAD, TORQUE_UNIT_NM = 0.002, 0.02  # residuals are weighed by what a servo's readings resolve
TURNS, ROUNDS, STEP = 5, 8, 0.03
SMOOTHED = 11  # readings


@dataclass(frozen=True)
class Recording:
    """A motion at the control rate.

    Attributes:
        dt_s: control period [s].
        sent_rad: goals `(T, J)` [rad], each sent at the time of its reading.
        measured_rad: `(T, J)` [rad].
        torque_nm: `(T, J)` [Nm].
    """

    dt_s: float
    sent_rad: np.ndarray
    measured_rad: np.ndarray
    torque_nm: np.ndarray


@dataclass(frozen=True)
class Identified:
    """What the arm is like.

    Attributes:
        friction_nm: dry friction by joint [Nm].
        damping: viscous friction by joint [Nm s/rad].
        delay_s: between sending a goal and its effect [s].
        error_before_rad: RMS between the measured angles and the model as it was [rad].
        error_after_rad: the same with what was found [rad].
    """

    friction_nm: dict[str, float]
    damping: dict[str, float]
    delay_s: float
    error_before_rad: float
    error_after_rad: float


def excitation(center_rad: Sequence[float], low: Sequence[float], high: Sequence[float], t_s: float) -> list[float]:
    """Goals `(J,)` [rad] at a time: every joint swings about its place with its own phases, fading in over a second."""
    fade, goals = min(t_s, 1.0), []
    for j, center in enumerate(center_rad):
        swing = sum(
            a * np.sin(2.0 * np.pi * f * (1.0 + 0.07 * j) * t_s + 1.3 * j * k)
            - (a * np.sin(1.3 * j * k) if t_s < 0 else 0.0)
            for k, (f, a) in enumerate(zip(FREQUENCIES_HZ, AMPLITUDES_RAD, strict=True))
        )
        goals.append(float(np.clip(center + fade * swing, low[j] + 0.02, high[j] - 0.02)))
    return goals


def identify(
    model: mujoco.MjModel, joints: Sequence[str], recording: Recording, say: Callable[[str], None] = print
) -> Identified:
    """Fits the model of an arm of position servos (`intvelocity`) to a recording.

    Args:
        model: the arm's; is not changed.
        joints: in the order of the recording.
        recording: of the arm.
        say: told every round's error.

    Raises:
        ConfigError: the recording is shorter than two seconds, or the joints did not move.
    """
    moved = np.ptp(recording.measured_rad, axis=0)
    if len(recording.sent_rad) * recording.dt_s < 2.0 or (moved < 0.02).any():
        still = [j for j, m in zip(joints, moved, strict=True) if m < 0.02]
        raise ConfigError(
            f"{len(recording.sent_rad) * recording.dt_s:.1f} s in which {', '.join(still) or 'all joints'} moved"
            " too little: record at least two seconds in which every joint swings"
        )
    arm = _Arm(model, joints, recording)
    n = len(joints)
    found = np.zeros(2 * n + 1)  # logarithms of the scales of friction and damping, and the delay
    before = arm.angle_error(found)
    for _ in range(TURNS):
        delay_s = arm.best_delay(found)
        settled, found[-1] = delay_s == found[-1], delay_s
        found = _fit(arm, found)
        say(f"  rms {1e3 * arm.angle_error(found):.2f} mrad, delay {1e3 * found[-1]:.0f} ms")
        if settled:
            break
    scales = np.exp(found[: 2 * n])
    return Identified(
        friction_nm={j: float(arm.friction[i] * scales[i]) for i, j in enumerate(joints)},
        damping={j: float(arm.damping[i] * scales[n + i]) for i, j in enumerate(joints)},
        delay_s=float(found[-1]),
        error_before_rad=before,
        error_after_rad=arm.angle_error(found),
    )


def _smooth(torques: np.ndarray) -> np.ndarray:
    """Moving mean: a servo's torque jumps with every goal, and when it was read in between is chance."""
    window = np.ones(SMOOTHED) / SMOOTHED
    return np.stack([np.convolve(column, window, mode="valid") for column in torques.T], axis=1)


def _fit(arm: _Arm, found: np.ndarray) -> np.ndarray:
    """Friction and damping at a fixed delay (Levenberg-Marquardt)."""
    residual, trust = arm.residual(found), 1e-2
    for _ in range(ROUNDS):
        jacobian = arm.jacobian(found, residual)
        hessian, gradient = jacobian.T @ jacobian, jacobian.T @ residual
        while True:
            step = np.linalg.solve(hessian + trust * np.diag(np.diag(hessian) + 1e-9), -gradient)
            trial = found.copy()
            trial[:-1] += np.clip(step, -0.7, 0.7)
            tried = arm.residual(trial)
            if tried @ tried < residual @ residual:
                break
            trust *= 5.0
            if trust > 1e4:
                return found
        gain = 1.0 - (tried @ tried) / (residual @ residual)
        found, residual, trust = trial, tried, max(trust / 5.0, 1e-6)
        if gain < 1e-3:
            break
    return found


class _Arm:
    """The model driven by the recorded goals."""

    def __init__(self, model: mujoco.MjModel, joints: Sequence[str], recording: Recording) -> None:
        self.model, self.recording = copy.copy(model), recording
        self._q = np.array([model.joint(j).qposadr[0] for j in joints])
        self._v = np.array([model.joint(j).dofadr[0] for j in joints])
        self._u = np.array([model.actuator(j).id for j in joints])
        self._act = model.actuator_actadr[self._u]
        self.friction, self.damping = model.dof_frictionloss[self._v].copy(), model.dof_damping[self._v].copy()
        self._data = mujoco.MjData(self.model)
        self._steps = round(recording.dt_s / model.opt.timestep)
        self._angles: dict[bytes, Any] = {}

    def residual(self, found: np.ndarray) -> np.ndarray:
        """Weighted differences of angles and torques."""
        angles, torques = self._play(found)
        recording = self.recording
        return np.concatenate(
            [
                ((angles - recording.measured_rad) / ANGLE_UNIT_RAD).ravel(),
                (_smooth(torques - recording.torque_nm) / TORQUE_UNIT_NM).ravel(),
            ]
        )

    def angle_error(self, found: np.ndarray) -> float:
        """RMS of the angles [rad]."""
        return float(np.sqrt(np.mean((self._play(found)[0] - self.recording.measured_rad) ** 2)))

    def jacobian(self, found: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """Derivatives with respect to the logarithms of friction and damping, by forward differences."""
        columns = []
        for i in range(len(found) - 1):
            there = found.copy()
            there[i] += STEP
            columns.append((self.residual(there) - residual) / STEP)
        return np.stack(columns, axis=1)

    def best_delay(self, found: np.ndarray) -> float:
        """The delay, in whole physics steps, with the least residual: it has many local minima, so all are tried."""
        delays = np.arange(0.0, MOST_DELAY_S, self.model.opt.timestep)
        costs = []
        for delay in delays:
            there = found.copy()
            there[-1] = delay
            residual = self.residual(there)
            costs.append(residual @ residual)
        return float(delays[int(np.argmin(costs))])

    def _play(self, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = found.tobytes()
        if key not in self._angles:
            self._angles = {key: self._simulated(found)}
        return self._angles[key]

    def _simulated(self, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, model, data, recording = len(self._q), self.model, self._data, self.recording
        model.dof_frictionloss[self._v] = self.friction * np.exp(found[:n])
        model.dof_damping[self._v] = self.damping * np.exp(found[n : 2 * n])
        mujoco.mj_resetData(model, data)
        if model.nkey:
            mujoco.mj_resetDataKeyframe(model, data, 0)
        data.qpos[self._q], data.act[self._act] = recording.measured_rad[0], recording.sent_rad[0]
        mujoco.mj_forward(model, data)
        delay, h = float(found[-1]), model.opt.timestep
        times = np.arange(len(recording.sent_rad)) * recording.dt_s
        angles, torques = np.empty_like(recording.measured_rad), np.empty_like(recording.torque_nm)
        for k in range(len(times)):
            angles[k], torques[k] = data.qpos[self._q], data.actuator_force[self._u]
            for i in range(self._steps):
                arrived = int(np.floor((times[k] + i * h - delay) / recording.dt_s + 1e-6))
                goal = recording.sent_rad[max(arrived, 0)]
                speed = (goal - data.act[self._act]) / h
                data.ctrl[self._u] = np.clip(speed, *model.actuator_ctrlrange[self._u].T)
                mujoco.mj_step(model, data)
        return angles, torques
