"""MuJoCo physics of an arm of position servos, advanced to the moment that is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np

from embodied.core.errors import ConfigError, UnknownNameError

AMBIENT_C, HEATING_C_PER_S, COOLING_S = 28.0, 0.35, 200.0  # of a servo: at full load, and its time constant
LATE_S = 0.5  # a process that was stopped for longer does not run the missed time


class ArmPhysics:
    """Servos that follow goals.

    Args:
        model: MJCF with one integrating position servo (`intvelocity`) per joint, named like it.
        joints: in the order of every `(J,)` here.
        max_speed_radps: at which a set-point follows its goal [rad/s].
        damping_scale: of the joints' damping, one for all or one each, for twins with hidden parameters.
        friction_scale: of the joints' dry friction, the same.
        delay_s: between a goal's arrival and its effect [s].
    """

    def __init__(
        self,
        model: Path,
        joints: Sequence[str],
        *,
        max_speed_radps: float,
        damping_scale: float | Sequence[float] = 1.0,
        friction_scale: float | Sequence[float] = 1.0,
        delay_s: float = 0.0,
    ) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(model))
        names = {self.model.actuator(i).name for i in range(self.model.nu)}
        missing = [joint for joint in joints if joint not in names]
        if missing:
            raise ConfigError(f"{model} has no servo for {', '.join(missing)}; it has {', '.join(sorted(names))}")
        self.joints, self.data = tuple(joints), mujoco.MjData(self.model)
        self._q = np.array([self.model.joint(j).qposadr[0] for j in joints])
        self._v = np.array([self.model.joint(j).dofadr[0] for j in joints])
        self.model.dof_damping[self._v] *= np.asarray(damping_scale)
        self.model.dof_frictionloss[self._v] *= np.asarray(friction_scale)
        self._u = np.array([self.model.actuator(j).id for j in joints])
        self._act = np.array([self.model.actuator_actadr[u] for u in self._u])
        self._strength = self.model.actuator_forcerange[self._u].copy()
        self._max_speed, self._delay_s = max_speed_radps, delay_s
        if self.model.nkey:
            mujoco.mj_resetDataKeyframe(self.model, self.data, 0)
        self._goals = self.position_rad.copy()
        self._waiting: list[tuple[float, int, float]] = []
        self._torque, self._limit = np.zeros(len(joints), bool), np.ones(len(joints))
        self.stalled: set[int] = set()
        self.temperature_c = np.full(len(joints), AMBIENT_C)
        self._now_s: float | None = None
        self._apply_torque()
        mujoco.mj_forward(self.model, self.data)

    @property
    def position_rad(self) -> np.ndarray:
        """`(J,)`."""
        return self.data.qpos[self._q]

    @property
    def velocity_radps(self) -> np.ndarray:
        """`(J,)`."""
        return self.data.qvel[self._v]

    @property
    def torque_nm(self) -> np.ndarray:
        """Of the servos `(J,)`."""
        return self.data.actuator_force[self._u]

    @property
    def set_point_rad(self) -> np.ndarray:
        """Where the servos stand or are on their way to `(J,)`."""
        return self.data.act[self._act]

    @property
    def torque_on(self) -> np.ndarray:
        """Bool `(J,)`."""
        return self._torque.copy()

    @property
    def tool_m(self) -> np.ndarray:
        """Position of the site `tool` `(3,)` [m, world]; NaN where the model has none."""
        site = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_SITE, "tool")
        return self.data.site_xpos[site] if site >= 0 else np.full(3, np.nan)

    def index(self, joint: str) -> int:
        """Place of a joint in every `(J,)`."""
        if joint not in self.joints:
            raise UnknownNameError("joint", joint, self.joints)
        return self.joints.index(joint)

    def place(self, position_rad: Sequence[float]) -> None:
        """Puts the arm at rest at a pose `(J,)`."""
        self.data.qpos[self._q] = position_rad
        self.data.qvel[:] = 0.0
        self.data.act[self._act] = position_rad
        self._goals[:] = position_rad
        self._waiting.clear()
        mujoco.mj_forward(self.model, self.data)

    def set_goal(self, joint: int, goal_rad: float) -> None:
        """A new goal of one joint."""
        self._waiting.append((self.data.time + self._delay_s, joint, goal_rad))

    def set_torque(self, joint: int, on: bool) -> None:
        """Torque of one joint; when it goes on, the servo holds where it stands until the next goal."""
        if on and not self._torque[joint]:
            self.data.act[self._act[joint]] = self.data.qpos[self._q[joint]]
        self._torque[joint] = on
        self._apply_torque()

    def set_torque_limit(self, joint: int, share: float) -> None:
        """Share of the stall torque, 0 to 1."""
        self._limit[joint] = share
        self._apply_torque()

    def advance_to(self, now_s: float, most_s: float = LATE_S) -> None:
        """Runs the physics up to a moment of the twin's clock; the first call sets the beginning.

        A gap of more than `most_s` is left out.
        """
        if self._now_s is None or now_s - self._now_s > most_s:
            self._now_s = now_s
            return
        dt = self.model.opt.timestep
        steps = math.floor((now_s - self._now_s) / dt + 1e-9)
        for _ in range(steps):
            self._step()
        self._now_s += steps * dt

    def _step(self) -> None:
        dt, act = self.model.opt.timestep, self.data.act
        due = [w for w in self._waiting if w[0] <= self.data.time + 1e-9]
        for _, joint, goal in due:
            self._goals[joint] = goal
        self._waiting = [w for w in self._waiting if w[0] > self.data.time + 1e-9]
        speed = (self._goals - act[self._act]) / dt
        self.data.ctrl[self._u] = np.clip(speed, -self._max_speed, self._max_speed)
        mujoco.mj_step(self.model, self.data)
        for joint in self.stalled:
            self.data.qvel[self._v[joint]] = 0.0
        load = np.abs(self.torque_nm) / np.maximum(self._strength[:, 1], 1e-9)
        self.temperature_c += dt * (HEATING_C_PER_S * load**2 - (self.temperature_c - AMBIENT_C) / COOLING_S)

    def _apply_torque(self) -> None:
        share = np.where(self._torque, self._limit, 0.0)
        self.model.actuator_forcerange[self._u] = self._strength * share[:, None]
