"""The same policy in the simulator and through SDK, wire and twin."""

import numpy as np
import pytest
from arms import bench, safety_config
from reaching import reaching_policy

from embodied.deploy.lockstep import Lockstep
from embodied.deploy.translate import TaskBridge
from embodied.rl.job import policy_actor
from embodied.rl.writing import make_task
from embodied.sim.evaluation import evaluate, evaluate_seeds

SEEDS = range(6)


@pytest.fixture(scope="module")
def task():
    return make_task("reach")


@pytest.fixture(scope="module")
def policy(task):
    return reaching_policy(task)


def free_safety():
    """The table's envelope with the simulated arm's own bounds: it has none on acceleration."""
    safety = safety_config()
    for bounds in safety["joints"].values():
        bounds["max_acceleration_radps2"] = float("inf")
        bounds["max_velocity_radps"] *= 1.3
    return safety


def deployed(folder, task, policy):
    with bench(folder, safety=free_safety()) as (loop, twin, clock):
        loop.arm()
        steps = Lockstep(loop, TaskBridge(task, loop.robot.joints), policy, clock, twin.advance)
        rows, motions = [], []
        for seed in SEEDS:
            before = len(steps.cycles)
            rows.append(steps.episode(seed))
            motions.append(np.array([c.state.position_rad for c in steps.cycles[before:]]))
        assert steps.park()
        return rows, motions, steps


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, task, policy):
    return deployed(tmp_path_factory.mktemp("twin"), task, policy)


def test_success_is_that_of_the_simulator(outcome, task, policy):
    simulated = evaluate_seeds(task, policy_actor(policy), list(SEEDS))
    assert sum(simulated) >= len(SEEDS) // 2, "a policy that never succeeds shows nothing"
    assert [row["success"] for row in outcome[0]] == simulated


class Replayed:
    """The actions of a simulated episode, one after the other."""

    def __init__(self):
        self.actions, self.at = [], 0

    def reset(self, instruction):
        self.at = 0

    def act(self, observation):
        self.at += 1
        return self.actions[self.at - 1][None]


def test_the_same_actions_give_the_same_motion_within_a_count_and_a_period(tmp_path, task, policy):
    """Of one policy's episodes: RMS error of every joint below an encoder count and one control period's lag."""
    replayed = Replayed()
    with bench(tmp_path, safety=free_safety()) as (loop, twin, clock):
        loop.arm()
        steps = Lockstep(loop, TaskBridge(task, loop.robot.joints), replayed, clock, twin.advance)
        per_step = round(task.control_dt_s / loop.gate.dt_s)
        for seed in SEEDS:
            worlds, replayed.actions = [], []
            actor = policy_actor(policy)

            def watched(observation, world, actor=actor):
                replayed.actions.append(actor(observation, world)[0])
                return replayed.actions[-1][None]

            evaluate(task, watched, episodes=1, seed=seed, record=worlds)
            simulated = np.array(
                [[*w.quantity("arm.joint_positions")[0], w.quantity("gripper.jaw_angle")[0]] for w in worlds]
            )
            before = len(steps.cycles)
            steps.episode(seed)
            measured = np.array([c.state.position_rad for c in steps.cycles[before:]])
            measured = measured[-task.episode_steps * per_step - 1 :][per_step::per_step]
            lag = np.abs(np.diff(simulated, axis=0)).max(axis=0) / per_step  # of one period of the control loop
            error = np.sqrt(np.mean((measured - simulated) ** 2, axis=0))
            assert (error <= 2 * np.pi / 4096 + lag).all(), (error, lag)


def test_the_same_seed_gives_the_same_motion(outcome, tmp_path, task, policy):
    again = deployed(tmp_path, task, policy)
    for a, b in zip(outcome[1], again[1], strict=True):
        np.testing.assert_array_equal(a, b)
