"""From a robot's reading to the policy's observation and back, and what a robot cannot be asked for."""

import numpy as np
import pytest

from embodied.core.errors import ConfigError
from embodied.core.robot import RobotState
from embodied.deploy.translate import TaskBridge
from embodied.rl.writing import make_task
from embodied.sim.batch_env import BatchEnv
from embodied.sim.tabletop import JOINTS


def test_a_reading_gives_the_observation_that_the_simulator_gives():
    task = make_task("reach")
    bridge, env = TaskBridge(task, JOINTS), BatchEnv(task, n_envs=1, seed=3)
    observation = env.reset()
    bridge.begin(3)
    rng, model = np.random.default_rng(0), task.model
    for step in range(20):
        state = env.start_of(0).states[0]
        reading = RobotState(0.0, tuple(state[1:7]), tuple(state[1 + model.nq : 7 + model.nq]))
        setpoints = state[1 + model.nq + model.nv : 7 + model.nq + model.nv]
        world = bridge.world(reading, setpoints, step * task.control_dt_s)
        np.testing.assert_allclose(bridge.observation(world), observation[0], atol=1e-12)
        assert bridge.success(world) == bool(task.success(env.world)[0])
        action = rng.uniform(-1, 1, (1, 6))
        (target,) = bridge.targets(action, reading, tuple(setpoints))
        observation = env.step(action, autoreset=False).observation
        after = env.start_of(0).states[0]
        np.testing.assert_allclose(after[1 + model.nq + model.nv :][:6], target, atol=1e-9)


@pytest.mark.parametrize(
    ("task", "unseen"),
    [("push_cube", "cube.position"), ("open_drawer", "drawer.opening_fraction"), ("press_button", "gripper.to_button")],
)
def test_a_policy_that_needs_what_no_joint_tells_is_refused_with_the_names(task, unseen):
    with pytest.raises(ConfigError, match=unseen.replace(".", r"\.")):
        TaskBridge(make_task(task), JOINTS)


def test_a_task_of_another_robot_is_refused():
    with pytest.raises(ConfigError, match="hopper"):
        TaskBridge(make_task("hopper"), JOINTS)
    with pytest.raises(ConfigError, match="the robot has gripper"):
        TaskBridge(make_task("reach"), ("gripper",))
