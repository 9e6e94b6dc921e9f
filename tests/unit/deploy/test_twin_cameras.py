"""A twin's cameras, through JPEG, HTTP and OpenCV: what the robot's own driver sees is the scene with the twin."""

import time
from functools import partial

import numpy as np
import pytest

from embodied.core.errors import CameraError
from embodied.core.robot import RobotState
from embodied.deploy.acting import make_bridge
from embodied.deploy.scenes import TaskScene
from embodied.deploy.twin_cameras import TwinCameras
from embodied.rl.writing import make_task, task_configuration
from robots.camera import OpenCvCamera

pytest.importorskip("cv2", reason="needs the extra `cameras`")
SHAPES = {"front": (48, 64, 3), "side": (48, 64, 3)}
POSES = [[0.0, -0.68, 0.48, 1.42, 0.05, 0.6], [0.7, -0.2, 0.3, 1.0, 0.5, 0.0]]


class Arm:
    """Stands where it is put."""

    position_rad = POSES[0]

    def state(self):
        return {"position_rad": self.position_rad, "velocity_radps": [0.0] * 6}


class Seeing:
    features = {**{f"observation.images.{name}": shape for name, shape in SHAPES.items()}, "observation.state": (17,)}
    action_size, fps = 6, 20


def scene(task):
    return partial(TaskScene, task_configuration(task), make_task(task).robot_joints, tuple(SHAPES), 48, 64)


def test_each_camera_shows_the_twin_s_pose_and_the_episode_s_goal_and_ends_in_order():
    task, arm = make_task("reach"), Arm()
    drawn = make_bridge(task, task.robot_joints, Seeing())
    with TwinCameras(arm, scene("reach"), tuple(SHAPES)) as cameras:
        eyes = {name: OpenCvCamera(source, 64, 48, most_age_s=1.0) for name, source in cameras.sources.items()}
        for eye in eyes.values():
            eye.connect()
        for seed, pose in ((3, POSES[0]), (8, POSES[1])):
            cameras.begin(seed)
            arm.position_rad = pose
            drawn.begin(seed)
            drawn.world(RobotState(0.0, tuple(pose), (0.0,) * 6), pose, 0.0)
            wanted = drawn.pictures()
            until_s = time.monotonic() + 10.0
            while max(far := [off(eyes, wanted, name) for name in eyes]) > 3.0:  # JPEG; another pose is off by 10
                assert time.monotonic() < until_s, far
                time.sleep(0.02)
        cameras.freeze()
        assert "newest picture is" in ended(eyes["front"])
    assert "is gone" in ended(eyes["side"], "is gone")
    for eye in eyes.values():
        eye.disconnect()


def off(eyes, wanted, name):
    seen = eyes[name].read().picture.astype(float)
    return np.abs(seen - wanted[f"observation.images.{name}"]).mean()


def ended(eye, word=""):
    until_s = time.monotonic() + 10.0
    while time.monotonic() < until_s:
        try:
            eye.read()
        except CameraError as error:
            if word in str(error):
                return str(error)
        time.sleep(0.02)
    raise AssertionError("no error")


def test_a_scene_that_cannot_be_drawn_is_told_at_once():
    with pytest.raises(CameraError, match="move by themselves"):
        TwinCameras(Arm(), scene("push_cube"), tuple(SHAPES))
