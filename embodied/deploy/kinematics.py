"""Where a robot's model would be at joint targets: the tool for the workspace, self-collision for the gate."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from embodied.core.errors import UnknownNameError
from embodied.sim.reads import joint_id


class RobotModel:
    """Forward kinematics and self-collision of one robot in a MuJoCo model.

    Args:
        model: contains the robot; is copied.
        joints: in the order of commands.
        tool: site whose position the workspace bounds.
    """

    def __init__(self, model: mujoco.MjModel, joints: Sequence[str], tool: str) -> None:
        if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, tool) < 0:
            raise UnknownNameError("site", tool, [model.site(i).name for i in range(model.nsite)], "the robot's model")
        self._model, self._data = model, mujoco.MjData(model)
        self._qpos = np.array([model.jnt_qposadr[joint_id(model, j)] for j in joints])
        self._tool = model.site(tool).id
        bodies = sorted({int(model.jnt_bodyid[joint_id(model, j)]) for j in joints})
        self._pairs = np.array(self._collision_pairs(bodies), dtype=int).reshape(-1, 2)
        self._reach = model.geom_rbound[self._pairs].sum(axis=1)

    def tool_position(self, angles: Sequence[float]) -> tuple[float, ...]:
        """Tool position `(3,)` [m, world] at joint angles `(J,)` [rad]."""
        self._pose(angles)
        return tuple(float(x) for x in self._data.site_xpos[self._tool])

    def tool_pose(self, angles: Sequence[float]) -> np.ndarray:
        """T_world_tool `(4, 4)` at joint angles `(J,)` [rad]."""
        self._pose(angles)
        T = np.eye(4)
        T[:3, :3] = self._data.site_xmat[self._tool].reshape(3, 3)
        T[:3, 3] = self._data.site_xpos[self._tool]
        return T

    def self_collides(self, angles: Sequence[float]) -> bool:
        """Whether two links that are not neighbours would overlap."""
        self._pose(angles)
        points, a, b = np.zeros(6), self._pairs[:, 0], self._pairs[:, 1]
        between = np.linalg.norm(self._data.geom_xpos[a] - self._data.geom_xpos[b], axis=1)
        near = self._pairs[between < self._reach]
        return any(mujoco.mj_geomDistance(self._model, self._data, a, b, 1e-4, points) < 0.0 for a, b in near)

    def _pose(self, angles: Sequence[float]) -> None:
        self._data.qpos[self._qpos] = angles
        mujoco.mj_kinematics(self._model, self._data)

    def _collision_pairs(self, bodies: Sequence[int]) -> list[tuple[int, int]]:
        """Pairs of shapes on links that have at least two other links between them."""
        model = self._model
        depth = {body: i for i, body in enumerate([int(model.body_parentid[bodies[0]]), *bodies])}
        geoms: list[tuple[int, int]] = []
        for geom in range(model.ngeom):
            body = int(model.geom_bodyid[geom])
            while body and body not in depth:  # what is welded to a link belongs to it
                body = int(model.body_parentid[body])
            if body in depth and model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_PLANE:
                geoms.append((geom, depth[body]))
        return [(a, b) for i, (a, u) in enumerate(geoms) for b, v in geoms[i + 1 :] if abs(u - v) > 2]
