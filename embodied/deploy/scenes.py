"""What a twin's cameras look at: a scene that is posed as the joints are, and drawn."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from embodied.core.robot import RobotState

if TYPE_CHECKING:
    from embodied.deploy.board import Board


class Scene(Protocol):
    """Something to look at. Made in the process that draws it."""

    def begin(self, seed: int) -> None:
        """Another episode: what it draws at random is drawn from this seed."""
        ...

    def draw(self, position_rad: Sequence[float], velocity_radps: Sequence[float]) -> dict[str, np.ndarray]:
        """Pictures `(H, W, 3)` uint8 by camera, with the joints `(J,)` where they are."""
        ...


class TaskScene:
    """The scene of a task, with its own cameras.

    Args:
        task: configuration of the task.
        joints: of the robot, in its order.
        names: of cameras.
        height: of the pictures [pixels].
        width: of the pictures [pixels].
        trusted_packages: whose code the task may name.
    """

    def __init__(
        self,
        task: Mapping[str, Any],
        joints: Sequence[str],
        names: Sequence[str],
        height: int,
        width: int,
        trusted_packages: Sequence[str] = (),
    ) -> None:
        from embodied.deploy.acting import DrawnBridge
        from embodied.sim.building import build_task

        built = build_task(dict(task), trusted_packages=tuple(trusted_packages))
        self._bridge = DrawnBridge(built, joints, names, height, width)

    def begin(self, seed: int) -> None:
        """The goal is where the episode's seed puts it."""
        self._bridge.begin(seed)

    def draw(self, position_rad: Sequence[float], velocity_radps: Sequence[float]) -> dict[str, np.ndarray]:
        """Pictures by camera."""
        from embodied.core.policy import IMAGES_PREFIX

        reading = RobotState(time.monotonic(), tuple(position_rad), tuple(velocity_radps))
        self._bridge.world(reading, position_rad, 0.0)
        return {key.removeprefix(IMAGES_PREFIX): picture for key, picture in self._bridge.pictures().items()}


@dataclass(frozen=True)
class Mounted:
    """A board somewhere in a scene.

    Attributes:
        board: as it was printed.
        T_mount_board: where its frame is, `(4, 4)`, in the frame of `mount`.
        mount: site that carries it; None for the world.
    """

    board: Board
    T_mount_board: Sequence[Sequence[float]] | np.ndarray
    mount: str | None


class RobotScene:
    """A robot's own scene, and a marker board in it if one is told.

    Args:
        model: MJCF, relative to `sim_assets/`.
        joints: of the robot, in its order.
        names: of cameras.
        height: of the pictures [pixels].
        width: of the pictures [pixels].
        mounted: the board.
    """

    def __init__(
        self,
        model: str,
        joints: Sequence[str],
        names: Sequence[str],
        height: int,
        width: int,
        mounted: Mounted | None = None,
    ) -> None:
        import mujoco

        from embodied.core.assets import sim_assets_dir
        from embodied.sim.reads import joint_id
        from embodied.sim.render import ModelRenderer

        spec = mujoco.MjSpec.from_file(str(sim_assets_dir() / model))
        if mounted is not None:
            _add_board(spec, mounted)
        self.model = spec.compile()
        self.data, self.names = mujoco.MjData(self.model), tuple(names)
        self._qpos = [int(self.model.jnt_qposadr[joint_id(self.model, joint)]) for joint in joints]
        self._renderer = ModelRenderer(self.model, self.names[0], width, height, markers=False)

    def begin(self, seed: int) -> None:
        """Nothing here is drawn at random."""

    def draw(self, position_rad: Sequence[float], velocity_radps: Sequence[float]) -> dict[str, np.ndarray]:
        """Pictures by camera."""
        import mujoco

        self.data.qpos[self._qpos] = position_rad
        mujoco.mj_forward(self.model, self.data)
        return {name: self._renderer.look(self.data, name) for name in self.names}

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._renderer.close()


def _add_board(spec: Any, mounted: Mounted) -> None:
    """The board's print on a flat mesh, whose first corner is the board's origin."""
    import mujoco
    from PIL import Image

    board, T = mounted.board, np.asarray(mounted.T_mount_board, float)
    png = io.BytesIO()
    Image.fromarray(board.picture(pixels_per_square=120)).convert("RGB").save(png, "PNG")
    spec.assets = {**dict(spec.assets), "board.png": png.getvalue()}
    spec.add_texture(name="board", type=mujoco.mjtTexture.mjTEXTURE_2D, file="board.png")
    spec.add_material(name="board", specular=0.0).textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "board"
    width, height = board.size_m
    mesh = {
        "uservert": np.array([[0, 0, 0], [width, 0, 0], [width, height, 0], [0, height, 0]], float).ravel(),
        "userface": np.array([0, 2, 1, 0, 3, 2]),  # seen from where the print is: the board's z points away from it
        "usertexcoord": np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float).ravel(),
    }
    spec.add_mesh(name="board", inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL, **mesh)
    parent = spec.worldbody
    if mounted.mount is not None:
        site = next(s for s in spec.sites if s.name == mounted.mount)
        parent, T_parent_site = site.parent, np.eye(4)
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, np.asarray(site.quat, float))
        T_parent_site[:3, :3], T_parent_site[:3, 3] = rotation.reshape(3, 3), site.pos
        T = T_parent_site @ T
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(T[:3, :3]).ravel())
    body = parent.add_body(name="board", pos=T[:3, 3], quat=quat)
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="board", material="board", contype=0, conaffinity=0, mass=0)
