"""What a policy is shown on a robot is what it was shown in the simulator."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from embodied.core.camera import Camera, Frame
from embodied.core.errors import CameraError, CheckpointError, ConfigError
from embodied.core.robot import RobotState
from embodied.deploy.acting import CameraBridge, fitted, load_policy, make_bridge
from embodied.rl.writing import make_task
from embodied.sim.batch_env import BatchEnv
from embodied.sim.cameras import Cameras, observe

SIZES = {"action_size": 6, "fps": 20}
SHAPES = {"front": (48, 64, 3), "side": (48, 64, 3)}
CAMERAS = ["observation.images.front", "observation.images.side"]


def policy(cameras=CAMERAS, **changes):
    features = {**dict.fromkeys(cameras, (48, 64, 3)), "observation.state": (17,)}
    return SimpleNamespace(features=features, **{**SIZES, **changes})


def test_pictures_and_state_are_those_of_the_simulator():
    task = make_task("reach")
    seed = 3
    env = BatchEnv(task, n_envs=1, seed=seed)
    env.reset()
    bridge = make_bridge(task, task.robot_joints, policy())
    bridge.begin(seed)
    expert = task.expert(1)
    expert.reset(np.arange(1))
    model = task.model
    with Cameras(task, ["front", "side"], 48, 64) as eyes:
        for step in range(12):
            wanted = observe(task, env, eyes, [0])
            state = env.engine.states[0]
            reading = RobotState(0.0, tuple(state[bridge._q]), tuple(state[bridge._v]))
            world = bridge.world(reading, tuple(state[bridge._a]), step * task.control_dt_s)
            seen = bridge.observe(world)
            assert set(seen) == set(wanted)
            for key in CAMERAS:
                assert seen[key].shape == (48, 64, 3)
                assert np.abs(seen[key].astype(int) - wanted[key][0]).mean() < 0.5, (step, key)
            assert np.allclose(seen["observation.state"], wanted["observation.state"][0], atol=1e-5)
            env.step(expert.act(env.world))
    first, last = bridge.draw(seed), bridge.draw(seed + 1)
    assert not np.allclose(first["goal.position"], last["goal.position"])
    assert model.nq == 6


class Still:
    """A camera that shows one picture."""

    def __init__(self, picture, broken=False):
        self.picture, self.shape, self.broken, self.is_open = picture, picture.shape, broken, False

    def connect(self):
        if self.broken:
            raise CameraError("camera does not open")
        self.is_open = True

    def read(self):
        return Frame(0.0, self.picture)

    def disconnect(self):
        self.is_open = False


def chequered(height, width):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=-1).astype(np.uint8)


def test_the_robot_s_own_cameras_are_open_while_the_bridge_is_and_closed_on_every_way_out():
    task = make_task("reach")
    front, side = Still(chequered(480, 640)), Still(chequered(48, 64))
    assert isinstance(front, Camera)
    both = {"front": front, "side": side}
    with contextlib.suppress(RuntimeError), CameraBridge(task, task.robot_joints, SHAPES, both) as bridge:
        assert front.is_open
        assert side.is_open
        seen = bridge.pictures()
        assert {key: value.shape for key, value in seen.items()} == dict.fromkeys(CAMERAS, (48, 64, 3))
        assert (seen["observation.images.side"] == side.picture).all()
        raise RuntimeError
    assert not front.is_open
    assert not side.is_open
    side.broken = True
    with pytest.raises(CameraError), CameraBridge(task, task.robot_joints, SHAPES, both):
        pytest.fail("opened")
    assert not front.is_open


def test_a_missing_camera_is_named_with_what_to_give():
    task = make_task("reach")
    with pytest.raises(ConfigError, match=r"no camera side: give cameras=\{side: <device or address>\}"):
        CameraBridge(task, task.robot_joints, SHAPES, {"front": Still(chequered(48, 64))})


@pytest.mark.parametrize(("height", "width"), [(48, 64), (96, 96), (30, 90)])
def test_pictures_are_cut_in_the_middle_and_keep_proportions(height, width):
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[240, :, 0] = picture[:, 320, 1] = 255
    seen = fitted(picture, height, width)
    assert seen.shape == (height, width, 3)
    assert abs(seen[:, 0, 0].astype(float).argmax() - height / 2) <= 1
    assert abs(seen[0, :, 1].astype(float).argmax() - width / 2) <= 1
    disc = ((np.mgrid[:480, :640] - np.array([240, 320])[:, None, None]) ** 2).sum(axis=0) < 100**2
    round_one = fitted(np.repeat(disc[..., None] * np.uint8(255), 3, axis=2), height, width)[..., 0] > 127
    assert round_one.any(axis=0).sum() == pytest.approx(round_one.any(axis=1).sum(), abs=1)


def test_what_the_joints_do_not_tell_is_refused_by_name():
    task = make_task("push_cube")
    with pytest.raises(ConfigError, match=r"cube.* move by themselves"):
        make_bridge(task, task.robot_joints, policy())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"action_size": 4}, "acts with 4 numbers"),
        ({"fps": 30}, "acts at 30 Hz, task 'reach' at 20 Hz"),
        ({"cameras": ["observation.images.ceiling"]}, "unknown camera 'ceiling'"),
    ],
)
def test_a_policy_of_another_robot_is_refused(changes, match):
    task = make_task("reach")
    with pytest.raises(ConfigError, match=match):
        make_bridge(task, task.robot_joints, policy(**changes))


def test_a_folder_without_a_policy_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no policy in"):
        load_policy(tmp_path)
