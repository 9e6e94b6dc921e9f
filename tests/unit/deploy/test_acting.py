"""What a policy is shown on a robot is what it was shown in the simulator."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from embodied.core.errors import CheckpointError, ConfigError
from embodied.core.robot import RobotState
from embodied.deploy.acting import CameraBridge, load_policy, make_bridge
from embodied.rl.writing import make_task
from embodied.sim.batch_env import BatchEnv
from embodied.sim.cameras import Cameras, observe

SIZES = {"action_size": 6, "fps": 20}
CAMERAS = ["observation.images.front", "observation.images.side"]


def policy(cameras=CAMERAS, **changes):
    features = {**dict.fromkeys(cameras, (48, 64, 3)), "observation.state": (6,)}
    return SimpleNamespace(features=features, **{**SIZES, **changes})


def test_pictures_and_state_are_those_of_the_simulator():
    task = make_task("reach")
    seed = 3
    env = BatchEnv(task, n_envs=1, seed=seed)
    env.reset()
    bridge = CameraBridge(task, task.robot_joints, policy())
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
