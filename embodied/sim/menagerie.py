"""A Menagerie model's body for one of our robots, where the user has a checkout (environment: `MENAGERIE_ROOT`).

What makes the physics of a link comes from theirs: mass and inertia, shapes with their meshes and materials, friction,
and each joint's limits, damping, armature and dry friction. What tasks and programs refer to stays ours: names, order
of coordinates, actuators with their gains, sites, cameras, the pose at rest. Both must be the same mechanism, which is
checked: anchors and axes of all joints agree at zero angles.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from embodied.core.errors import ConfigError
from embodied.core.rotations import quat_conjugate, quat_multiply, quat_rotate

VARIABLE = "MENAGERIE_ROOT"
ANCHOR_TOLERANCE_M, AXIS_TOLERANCE = 0.005, 0.01
_GEOM = (
    "type", "size", "friction", "solref", "solimp", "solmix", "condim", "priority", "margin", "gap", "rgba", "group",
)  # fmt: skip
_JOINT = ("range", "damping", "armature", "frictionloss", "stiffness")


@dataclass(frozen=True)
class MenagerieRobot:
    """How a Menagerie model corresponds to ours.

    Attributes:
        file: the MJCF inside the checkout.
        bodies: our body -> theirs, the root first.
        joints: our joint -> theirs.
        contact: our body -> (contype, conaffinity) of its shapes that touch; bodies left out touch nothing.
    """

    file: str
    bodies: Mapping[str, str]
    joints: Mapping[str, str]
    contact: Mapping[str, tuple[int, int]]


def with_menagerie(spec: mujoco.MjSpec, robot: MenagerieRobot) -> mujoco.MjSpec:
    """Our scene, its robot's links replaced by Menagerie's where `MENAGERIE_ROOT` is set; else as it is.

    Raises:
        ConfigError: the folder has no such file, or its robot is not the mechanism that ours is.
    """
    root = os.environ.get(VARIABLE, "").strip()
    if not root:
        return spec
    path = Path(root).expanduser() / robot.file
    if not path.is_file():
        raise ConfigError(
            f"{VARIABLE}={root} has no {robot.file}: set it to a checkout of github.com/google-deepmind/"
            "mujoco_menagerie, or unset it to use the model shipped in sim_assets/"
        )
    theirs = mujoco.MjSpec.from_file(str(path))
    _Graft(spec, theirs, robot, path).apply()
    return spec


class _Graft:
    """One replacement; poses of both robots at zero angles, relative to their root bodies."""

    def __init__(self, ours: mujoco.MjSpec, theirs: mujoco.MjSpec, robot: MenagerieRobot, path: Path) -> None:
        self.ours, self.theirs, self.robot, self.path = ours, theirs, robot, path
        self.their_model, self.our_model = theirs.compile(), ours.compile()
        missing = [b for b in robot.bodies.values() if mujoco.mj_name2id(self.their_model, _BODY, b) < 0]
        missing += [j for j in robot.joints.values() if mujoco.mj_name2id(self.their_model, _HINGE, j) < 0]
        if missing:
            raise ConfigError(f"{path} has no {', '.join(missing)}: it is not the version of the model that is known")
        our_root, their_root = next(iter(robot.bodies.items()))
        self._our_poses = _Poses(self.our_model, our_root)
        self._their_poses = _Poses(self.their_model, their_root)

    def apply(self) -> None:
        """Change `ours`."""
        self._check_joints()
        self._add_assets()
        for our_name, their_name in self.robot.bodies.items():
            body = self.ours.body(our_name)
            for geom in list(body.geoms):
                geom.delete()
            offset = self._offset(our_name, their_name)
            self._set_inertia(body, their_name, offset)
            for geom in self.theirs.body(their_name).geoms:
                self._add_geom(body, geom, offset, self.robot.contact.get(our_name))
        for our_name, their_name in self.robot.joints.items():
            ours, theirs = self.ours.joint(our_name), self.theirs.joint(their_name)
            for field in _JOINT:
                setattr(ours, field, getattr(theirs, field))

    def _check_joints(self) -> None:
        for our_name, their_name in self.robot.joints.items():
            (our_anchor, our_axis), (anchor, axis) = (
                self._our_poses.joint(our_name), self._their_poses.joint(their_name),
            )  # fmt: skip
            moved, turned = np.linalg.norm(anchor - our_anchor), np.linalg.norm(axis - our_axis)
            if moved > ANCHOR_TOLERANCE_M or turned > AXIS_TOLERANCE:
                raise ConfigError(
                    f"{self.path}: joint {their_name} is {moved * 1e3:.1f} mm and {turned:.3f} of an axis away from our"
                    f" {our_name} at zero angles (at most {ANCHOR_TOLERANCE_M * 1e3:g} mm and {AXIS_TOLERANCE:g}):"
                    " this is another mechanism"
                )

    def _offset(self, our_name: str, their_name: str) -> tuple[np.ndarray, np.ndarray]:
        """Their body's frame seen from ours: position [m] and quaternion wxyz."""
        position, quaternion = self._our_poses.body(our_name)
        their_position, their_quaternion = self._their_poses.body(their_name)
        back = quat_conjugate(quaternion)
        return quat_rotate(back, their_position - position), quat_multiply(back, their_quaternion)

    def _set_inertia(self, body: mujoco.MjsBody, their_name: str, offset: tuple[np.ndarray, np.ndarray]) -> None:
        model, row = self.their_model, self.their_model.body(their_name).id
        body.explicitinertial = True
        body.mass, body.inertia = float(model.body_mass[row]), model.body_inertia[row]
        body.fullinertia = np.full(6, np.nan)
        body.ipos = offset[0] + quat_rotate(offset[1], model.body_ipos[row])
        body.iquat = quat_multiply(offset[1], model.body_iquat[row])

    def _add_assets(self) -> None:
        folder = self.path.parent / self.theirs.meshdir
        for material in self.theirs.materials:
            self.ours.add_material(
                name=_name(material.name), rgba=material.rgba, specular=material.specular, shininess=material.shininess
            )
        for mesh in self.theirs.meshes:
            added = self.ours.add_mesh(name=_name(_mesh_name(mesh)), file=str((folder / mesh.file).resolve()))
            added.scale, added.refpos, added.refquat = mesh.scale, mesh.refpos, mesh.refquat

    def _add_geom(
        self,
        body: mujoco.MjsBody,
        theirs: mujoco.MjsGeom,
        offset: tuple[np.ndarray, np.ndarray],
        contact: tuple[int, int] | None,
    ) -> None:
        touches = bool(theirs.contype or theirs.conaffinity)
        if touches and contact is None:
            return
        geom = body.add_geom(**{field: getattr(theirs, field) for field in _GEOM})
        geom.mass = 0.0
        geom.contype, geom.conaffinity = contact if touches and contact else (0, 0)
        geom.material = _name(theirs.material) if theirs.material else ""
        geom.meshname = _name(theirs.meshname) if theirs.meshname else ""
        if np.isfinite(theirs.fromto[0]):
            ends = theirs.fromto.reshape(2, 3)
            geom.fromto = np.concatenate([offset[0] + quat_rotate(offset[1], end) for end in ends])
        else:
            geom.pos = offset[0] + quat_rotate(offset[1], theirs.pos)
            geom.quat = quat_multiply(offset[1], theirs.quat / np.linalg.norm(theirs.quat))


_BODY, _HINGE = mujoco.mjtObj.mjOBJ_BODY, mujoco.mjtObj.mjOBJ_JOINT


class _Poses:
    """Poses at zero angles in the frame of a robot's root body."""

    def __init__(self, model: mujoco.MjModel, root: str) -> None:
        self._data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, self._data)
        self._root, self._back = self._data.body(root).xpos, quat_conjugate(self._data.body(root).xquat)

    def body(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Position [m] and quaternion wxyz."""
        found = self._data.body(name)
        return quat_rotate(self._back, found.xpos - self._root), quat_multiply(self._back, found.xquat)

    def joint(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Anchor [m] and axis (unit)."""
        found = self._data.joint(name)
        return quat_rotate(self._back, found.xanchor - self._root), quat_rotate(self._back, found.xaxis)


def _name(theirs: str) -> str:
    return f"menagerie_{theirs}"


def _mesh_name(mesh: mujoco.MjsMesh) -> str:
    """MJCF names a mesh after its file where it says nothing."""
    return mesh.name or Path(mesh.file).stem
