"""Where a camera is, from drawn pictures of a board: MuJoCo knows the answer."""

import mujoco
import numpy as np
import pytest
from PIL import Image

from embodied.core.errors import CalibrationError, ConfigError
from embodied.deploy.board import DPI, INCH_M, Board, Corners
from embodied.deploy.hand_eye import (
    Intrinsics,
    View,
    as_plain,
    find_camera,
    find_intrinsics,
    read_intrinsics,
)
from embodied.deploy.scenes import Mounted, RobotScene
from embodied.rl.writing import make_task

pytest.importorskip("cv2", reason="needs the extra `cameras`")
BOARD = Board(square_m=0.02, marker_m=0.015)
IN_FRONT = np.array([[0.0, 0, -1, 0.02], [1, 0, 0, -0.07], [0, -1, 0, 0.05], [0, 0, 0, 1]])
ON_TABLE = np.array([[0.0, 1, 0, 0.18], [1, 0, 0, -0.07], [0, 0, -1, 0.002], [0, 0, 0, 1]])
SETUPS = {
    "room": ("front", IN_FRONT, "tool", [0.0, -0.68, 0.48, 0.1, 0.0, 0.0]),
    "tool": ("wrist", ON_TABLE, None, [0.0, -0.68, 0.48, 1.42, 0.0, 0.0]),
}
SPREAD = np.array([0.3, 0.2, 0.2, 0.35, 0.5, 0.0])
COUNT_RAD = 2 * np.pi / 4096


class Setup:
    """A camera, a board and an arm, and the truth about them."""

    def __init__(self, mount, n=15):
        self.mount = mount
        self.camera, place, site, center = SETUPS[mount]
        joints = make_task("reach").robot_joints
        self.scene = RobotScene(
            "scenes/reach.xml", joints, (self.camera,), 480, 640, Mounted(BOARD, place, site)
        )
        rng = np.random.default_rng(0)
        self.poses = [np.array(center) + SPREAD * rng.uniform(-1, 1, 6) for _ in range(n)]
        self.corners = [BOARD.find(self.scene.draw(q, np.zeros(6))[self.camera]) for q in self.poses]
        tool = self.tool(self.poses[0])
        eye = self.scene.data.cam(self.camera)
        here = frame(eye.xmat.reshape(3, 3) @ np.diag([1, -1, -1]), eye.xpos)  # OpenCV looks along z, y is down
        self.truth = here if mount == "room" else np.linalg.inv(tool) @ here
        focal = 240 / np.tan(np.radians(self.scene.model.cam(self.camera).fovy[0]) / 2)
        self.pinhole = Intrinsics(np.array([[focal, 0, 319.5], [0, focal, 239.5], [0, 0, 1]]), np.zeros(5), 0.0)

    def tool(self, pose):
        self.scene.data.qpos[self.scene._qpos] = pose
        mujoco.mj_forward(self.scene.model, self.scene.data)
        site = self.scene.data.site("tool")
        return frame(site.xmat.reshape(3, 3), site.xpos)

    def views(self, noise_rad=0.0):
        rng = np.random.default_rng(1)
        return [
            View(self.tool(q + rng.uniform(-noise_rad, noise_rad, 6)), c)
            for q, c in zip(self.poses, self.corners, strict=True)
        ]

    def off(self, found):
        """How far the camera is from where it is [mm], and how far turned [deg]."""
        error = np.linalg.inv(self.truth) @ found.T_mount_camera
        angle = np.arccos(np.clip((np.trace(error[:3, :3]) - 1) / 2, -1, 1))
        return 1e3 * np.linalg.norm(error[:3, 3]), np.degrees(angle)


def frame(rotation, position):
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation, position
    return T


@pytest.fixture(scope="module", params=list(SETUPS))
def setup(request):
    found = Setup(request.param)
    yield found
    found.scene.close()


def test_a_camera_is_found_within_a_millimetre_with_its_intrinsics_unknown(setup):
    views = setup.views()
    found = find_camera(views, find_intrinsics(views, (480, 640), distorted=False), setup.mount)
    mm, deg = setup.off(found)
    assert mm < 1.0
    assert deg < 0.2
    assert found.error_px < 0.3
    assert not found.outliers
    assert found.intrinsics.matrix[0, 0] == pytest.approx(setup.pinhole.matrix[0, 0], rel=0.01)


def test_joints_that_are_off_by_a_count_move_it_little_once_the_intrinsics_are_known(setup):
    found = find_camera(setup.views(COUNT_RAD / 2), setup.pinhole, setup.mount, intrinsics_known=True)
    mm, deg = setup.off(found)
    assert mm < 4.0  # a count is 0.5 mm at the tool, seen from 0.9 m
    assert deg < 0.4
    assert (found.intrinsics.matrix == setup.pinhole.matrix).all()


def test_one_wrong_view_is_named_and_does_not_decide(setup):
    views = setup.views()
    bad = max(range(len(views)), key=lambda i: len(views[i].corners))
    T = views[bad].T_base_tool.copy()
    T[:3, 3] += [0.0, 0.03, 0.02]
    views[bad] = View(T, views[bad].corners)
    found = find_camera(views, setup.pinhole, setup.mount, intrinsics_known=True)
    assert bad in found.outliers
    assert setup.off(found)[0] < 5.0


def test_an_arm_that_turns_about_one_axis_alone_does_not_determine_it(setup):
    poses = [setup.poses[0] * 0 + np.array(SETUPS[setup.mount][3]) + [k * 0.1 - 0.4, 0, 0, 0, 0, 0] for k in range(9)]
    views = [View(setup.tool(q), BOARD.find(setup.scene.draw(q, np.zeros(6))[setup.camera])) for q in poses]
    with pytest.raises(CalibrationError, match=r"(about a second one|pictures show)"):
        find_camera(views, setup.pinhole, setup.mount)


def test_too_few_views_are_refused_with_what_would_help(setup):
    with pytest.raises(CalibrationError, match=r"of 4 pictures show .* 5 are needed"):
        find_camera(setup.views()[:4], setup.pinhole, setup.mount)
    with pytest.raises(CalibrationError, match="room or tool"):
        find_camera(setup.views(), setup.pinhole, "ceiling")


def test_views_that_show_one_row_alone_are_not_used(setup):
    views = setup.views()
    full = max(views, key=lambda v: len(v.corners)).corners
    row = full.board[:, 1] == full.board[0, 1]
    views.append(View(views[0].T_base_tool, Corners(full.ids[row], full.image[row], full.board[row])))
    found = find_camera(views, find_intrinsics(views, (480, 640), distorted=False), setup.mount)
    assert np.isnan(found.view_errors_px[-1])
    assert setup.off(found)[0] < 1.0


def test_what_was_found_comes_back_from_its_file(setup, tmp_path):
    import yaml

    found = find_camera(setup.views(), setup.pinhole, setup.mount)
    path = tmp_path / "camera.yaml"
    path.write_text(yaml.safe_dump(as_plain(found)))
    again = read_intrinsics(path)
    assert again.matrix == pytest.approx(found.intrinsics.matrix)
    path.write_text("intrinsics: {matrix: [1, 2]}")
    with pytest.raises(CalibrationError, match=r"no intrinsics|is \(2,\)"):
        read_intrinsics(path)


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_a_print_has_its_true_size(tmp_path, ending):
    path = tmp_path / f"board.{ending}"
    board = Board(columns=6, rows=4, square_m=0.031, marker_m=0.02)
    board.save(path)
    if ending == "pdf":
        assert path.read_bytes().startswith(b"%PDF")
        return
    sheet = Image.open(path)
    dots = sheet.info["dpi"][0]
    dark = np.asarray(sheet.convert("L")) < 128
    width_m = (np.flatnonzero(dark.any(axis=0))[-1] - np.flatnonzero(dark.any(axis=0))[0] + 1) / dots * INCH_M
    assert width_m == pytest.approx(6 * 0.031, rel=2e-3)
    assert dots == pytest.approx(DPI, rel=0.01)
    assert len(board.find(np.repeat(np.asarray(sheet)[..., None], 3, axis=2))) == 5 * 3


def test_boards_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="3 x 3"):
        Board(columns=2)
    with pytest.raises(ConfigError, match="markers smaller"):
        Board(marker_m=0.05)
    with pytest.raises(ConfigError, match="none of OpenCV's"):
        Board(dictionary="DICT_9X9_1").picture()
