"""Cameras of `embodied robot`: a board to print, what a camera gives, and where it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEFAULTS: dict[str, Any] = {
    "cameras": {}, "camera": "front", "mount": "room", "board": {}, "pose_rad": None, "views": 15, "intrinsics": None,
    "fps": 25, "height": 240, "width": 320,
}  # fmt: skip
BOARD_IN_FRONT = [[0.0, 0.0, -1.0, 0.02], [1.0, 0.0, 0.0, -0.07], [0.0, -1.0, 0.0, 0.05], [0.0, 0.0, 0.0, 1.0]]
BOARD_ON_TABLE = [[0.0, 1.0, 0.0, 0.18], [1.0, 0.0, 0.0, -0.07], [0.0, 0.0, -1.0, 0.002], [0.0, 0.0, 0.0, 1.0]]


def print_board(values: Mapping[str, Any]) -> int:
    """Writes a board in its true size."""
    from embodied.deploy.board import Board

    board, path = Board(**values["board"]), Path(str(values["to"] or "board.png"))
    board.save(path)
    width, height = board.size_m
    size = f"{1e3 * width:.0f} x {1e3 * height:.0f} mm"
    print(f"{path}: {size}. Print it without scaling, measure a square, glue it flat")
    return 0


def show(robot: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """What every given camera gives."""
    for name in values["cameras"]:
        with opened(robot, values, name) as camera:
            rate, frame = camera.rate_hz(), camera.read()
            height, width, _ = frame.picture.shape
            bright = f"mean {frame.picture.mean():.0f} of 255"
            print(f"  camera {name:<10} {width} x {height}, {rate:.0f} pictures/s, {bright}")


@contextmanager
def opened(robot: Mapping[str, Any], values: Mapping[str, Any], name: str) -> Iterator[Any]:
    """A camera of `cameras={<name>: <source>}`, connected.

    Raises:
        ConfigError: this robot has no camera driver.
        UnknownNameError: the camera was not given.
    """
    from embodied.core.build import build
    from embodied.core.errors import ConfigError, UnknownNameError

    if "camera" not in robot:
        raise ConfigError("this robot's configuration has no camera driver: add `camera:` to its yaml")
    if name not in values["cameras"]:
        raise UnknownNameError("camera", name, values["cameras"], "cameras={<name>: <device or address>}")
    camera = build(robot["camera"], source=values["cameras"][name])
    camera.connect()
    try:
        yield camera
    finally:
        camera.disconnect()


@contextmanager
def beside(robot: Mapping[str, Any], values: Mapping[str, Any], twin: Any, *, board: bool) -> Iterator[dict[str, Any]]:
    """The values with their cameras: as given, or those of the twin's scene, with a board on its tool or its table."""
    from functools import partial

    from embodied.core.build import build
    from embodied.deploy.board import Board
    from embodied.deploy.scenes import Mounted, RobotScene
    from embodied.deploy.twin_cameras import TwinCameras

    names = (str(values["camera"]),) if board else tuple(values["cameras"])
    if twin is None or not names:
        yield dict(values)
        return
    size = (int(robot["camera"]["height"]), int(robot["camera"]["width"]))
    place, mount = (BOARD_IN_FRONT, robot["tool"]) if values["mount"] == "room" else (BOARD_ON_TABLE, None)
    mounted = Mounted(Board(**values["board"]), place, mount) if board else None
    joints = build(robot["driver"], **values["connection"]).joints
    with TwinCameras(twin, partial(RobotScene, robot["model"], joints, names, *size, mounted), names) as cameras:
        yield {**values, "cameras": cameras.sources}


@contextmanager
def filming(robot: Mapping[str, Any], values: Mapping[str, Any], rate_hz: float) -> Iterator[Any]:
    """Takes pictures beside a motion by all of `cameras`; None without any.

    Raises:
        ConfigError: the loop's rate is no multiple of `fps`.
    """
    from contextlib import ExitStack

    from embodied.core.errors import ConfigError
    from embodied.deploy.recording import Filming

    if not values["cameras"]:
        yield None
        return
    every = rate_hz / float(values["fps"])
    if abs(every - round(every)) > 1e-6 or every < 1.0:
        raise ConfigError(f"fps={values['fps']} must divide the loop's {rate_hz:g} Hz")
    with ExitStack() as stack:
        cameras = {name: stack.enter_context(opened(robot, values, name)) for name in values["cameras"]}
        size = (int(values["height"]), int(values["width"]))
        yield stack.enter_context(Filming(cameras, round(every), *size))


def calibrate(robot: Mapping[str, Any], values: Mapping[str, Any], loop: Any, clock: Any) -> bool:
    """Takes the pictures, solves, writes; then parks."""
    import mujoco
    import yaml

    from embodied.core.assets import sim_assets_dir
    from embodied.core.files import write_text
    from embodied.deploy.board import Board
    from embodied.deploy.camera_views import look_from, tilted_poses
    from embodied.deploy.hand_eye import View, as_plain, find_camera, find_intrinsics, read_intrinsics
    from embodied.deploy.kinematics import RobotModel
    from embodied.deploy.moves import go_and_hold, park_and_release

    model = mujoco.MjModel.from_xml_path(str(sim_assets_dir() / robot["model"]))
    arm, board = RobotModel(model, loop.robot.joints, robot["tool"]), Board(**values["board"])
    center, envelope = values["pose_rad"] or robot["home_rad"], loop.gate.envelope
    poses = tilted_poses(center, envelope.low_rad, envelope.high_rad, loop.gate.allows, int(values["views"]))
    views, size = [], (0, 0)
    with opened(robot, values, str(values["camera"])) as camera:
        for joints, frame in look_from(loop, camera, poses, clock):
            views.append(View(arm.tool_pose(joints), board.find(frame.picture)))
            size = frame.picture.shape[:2]
            print(f"  view {len(views)}: {len(views[-1].corners)} corners", flush=True)
    done = go_and_hold(loop, robot["home_rad"], clock) and park_and_release(loop, clock)
    print("parked; torque off" if done else f"not parked, holding: {loop.machine.reasons}")
    known = values["intrinsics"] is not None
    intrinsics = read_intrinsics(Path(str(values["intrinsics"]))) if known else find_intrinsics(views, size)
    found = find_camera(views, intrinsics, str(values["mount"]), intrinsics_known=known)
    path = Path(str(values["to"] or f"{values['camera']}.yaml"))
    write_text(path, yaml.safe_dump(as_plain(found), sort_keys=False))
    x, y, z = found.T_mount_camera[:3, 3]
    where = "the base" if found.mount == "room" else "the tool"
    print(f"camera {values['camera']}: at ({x:.4f}, {y:.4f}, {z:.4f}) m from {where}; error {found.error_px:.2f} px,")
    print(f"{found.error_mm:.2f} mm on the board; {len(found.outliers)} views far off. Written to {path}")
    return done
