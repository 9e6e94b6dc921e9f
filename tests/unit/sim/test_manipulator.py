"""The seven-joint arm: published limits and masses, a grip that holds, objects that stay, props that move, success."""

from __future__ import annotations

from functools import cache

import mujoco
import numpy as np
import pytest
import yaml

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.sim.batch_env import BatchEnv
from embodied.sim.ik import ArmKinematics
from embodied.sim.manipulator.base import (
    APPLE_RADIUS_M,
    ARM_JOINTS,
    BOX_HALF_M,
    DRAWER_RANGE_M,
    FAUCET_RANGE_RAD,
    FINGER_RANGE_M,
    FINGERS,
    LYING,
    MAX_FINGER_SPEED_M_S,
    MAX_SPEED_RAD_S,
    REST_POSITION,
)
from embodied.sim.task import Start

NAMES = sorted(path.stem for path in (conf_dir() / "task" / "manipulator").glob("*.yaml"))
LIMITS_RAD = [(-2.8973, 2.8973), (-1.7628, 1.7628), (-2.8973, 2.8973), (-3.0718, -0.0698), (-2.8973, 2.8973),
              (-0.0175, 3.7525), (-2.8973, 2.8973)]  # fmt: skip
TORQUES_NM = [87.0] * 4 + [12.0] * 3
MASSES_KG = [4.97, 0.647, 3.23, 3.59, 1.226, 1.667, 0.736]
UPSIDE_DOWN, UPRIGHT = np.array([0.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0, 0.0])
QUIET = np.zeros(8)


@cache
def task_of(name):
    return build(yaml.safe_load((conf_dir() / "task" / "manipulator" / f"{name}.yaml").read_text()))


def column(task, joint):
    return 1 + int(task.model.joint(joint).qposadr[0])


def state_of(task, **poses):
    """The home state `(n_state,)` with some joints' coordinates replaced."""
    state = task.home_state()
    for joint, value in poses.items():
        value = np.atleast_1d(value)
        state[column(task, joint) : column(task, joint) + len(value)] = value
    return state


def env_at(task, state, monkeypatch):
    monkeypatch.setattr(task, "start", lambda rng, n: Start(np.tile(state, (n, 1))))
    env = BatchEnv(task, n_envs=1, seed=0)
    env.reset()
    return env


def play(env, action, seconds):
    for _ in range(round(seconds / env.task.control_dt_s)):
        step = env.step(np.asarray(action)[None], autoreset=False)
    return step.world.rows(0)


def free(position, quaternion=UPRIGHT):
    return np.concatenate([position, quaternion])


def test_the_arm_has_the_published_limits_torques_and_masses():
    model = task_of("touch").model
    np.testing.assert_allclose([model.joint(j).range for j in ARM_JOINTS], LIMITS_RAD)
    np.testing.assert_allclose([model.actuator(j).forcerange for j in ARM_JOINTS], [(-t, t) for t in TORQUES_NM])
    np.testing.assert_allclose([model.body(f"link{i}").mass[0] for i in range(1, 8)], MASSES_KG, atol=0.005)
    assert (np.array([MAX_SPEED_RAD_S] * 7) <= [model.actuator(j).ctrlrange[1] for j in ARM_JOINTS]).all()
    assert model.nmesh == 0


def test_the_constants_are_those_of_the_model():
    model = task_of("touch").model
    for finger in FINGERS:
        np.testing.assert_allclose(model.joint(finger).range, (0.0, FINGER_RANGE_M))
        np.testing.assert_allclose(model.actuator(finger).ctrlrange[1], MAX_FINGER_SPEED_M_S)
    np.testing.assert_allclose(model.joint("drawer").range, (0.0, DRAWER_RANGE_M))
    np.testing.assert_allclose(model.joint("faucet").range, (0.0, FAUCET_RANGE_RAD))
    assert model.geom("apple").size[0] == APPLE_RADIUS_M
    np.testing.assert_allclose(model.geom("box").size, BOX_HALF_M)


def test_at_home_the_palm_rests_pointing_down_and_nothing_moves(monkeypatch):
    task = task_of("touch")
    env = env_at(task, task.home_state(), monkeypatch)
    before = env.world.rows(0)
    np.testing.assert_allclose(before.palm.position, REST_POSITION, atol=1e-3)
    np.testing.assert_allclose(before.palm.approach_axis, (0.0, 0.0, -1.0), atol=1e-3)
    np.testing.assert_allclose(np.abs(before.palm.closing_axis), (0.0, 1.0, 0.0), atol=1e-3)
    after = play(env, QUIET, 3.0)
    for thing in ("palm", "apple", "box"):
        still, then = (world.quantity(f"{thing}.position") for world in (before, after))
        np.testing.assert_allclose(then, still, atol=2e-3, err_msg=thing)
    assert after.box.up[2] > 0.999


@pytest.mark.parametrize("point", ["apple", "box", "drawer_handle", "faucet_handle", "rest", "high"])
def test_everything_is_within_reach(point):
    model = task_of("touch").model
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_forward(model, data)
    if point.endswith("handle"):
        place = data.site(point).xpos
    else:
        place = {"rest": REST_POSITION, "high": (0.5, 0.0, 0.6)}.get(point)
        place = data.body(point).xpos if place is None else np.array(place)
    arm = ArmKinematics(model, ARM_JOINTS, "palm")
    assert arm.solve(data.qpos[:7], place)[1] < 1e-3


@pytest.mark.parametrize(("thing", "width"), [("apple", 2 * APPLE_RADIUS_M), ("box", 2 * BOX_HALF_M[1])])
def test_closed_fingers_hold_an_object_and_carry_it(thing, width, monkeypatch):
    task = task_of("touch")
    closing, turning = np.append(np.zeros(7), -1.0), np.append([0.4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 0.0)
    state = state_of(task, **{thing: free(REST_POSITION)}, left_finger=width / 2, right_finger=width / 2)
    state[1 + task.model.nq + task.model.nv :] = task.model.actuator(FINGERS[0]).actrange[0]
    env = env_at(task, state, monkeypatch)
    play(env, closing, 0.5)
    world = play(env, turning, 1.0)
    carried = world.quantity(f"{thing}.position")
    np.testing.assert_allclose(carried, world.palm.position, atol=0.01)
    assert np.linalg.norm(carried - REST_POSITION) > 0.15
    assert world.fingers.set_openness < world.fingers.openness - 0.1
    opened = play(env, np.append(np.zeros(7), 1.0), 1.5)
    assert opened.quantity(f"{thing}.position")[2] < 0.06


def test_open_fingers_take_both_objects_side_by_side():
    start = task_of("lift_both").start(np.random.default_rng(0), 64)
    task = task_of("lift_both")
    apple, box = (start.states[:, column(task, name) + 1] for name in ("apple", "box"))
    across = BOX_HALF_M[0] * np.sqrt(2.0)  # of the turned box, at most
    assert (apple + APPLE_RADIUS_M - (box - across) < 2 * FINGER_RANGE_M + 0.025).all()
    assert (apple - box > APPLE_RADIUS_M + BOX_HALF_M[1]).all()


@pytest.mark.parametrize(("height", "quaternion"), [(0.05, UPRIGHT), (0.05, UPSIDE_DOWN), (0.025, LYING)])
def test_the_box_stays_as_it_is_put(height, quaternion, monkeypatch):
    task = task_of("touch")
    put = free((0.5, -0.1, height), quaternion)
    world = play(env_at(task, state_of(task, box=put), monkeypatch), QUIET, 2.0)
    np.testing.assert_allclose(world.box.position, put[:3], atol=2e-3)
    assert abs(np.dot(world.box.quaternion, quaternion)) > 0.9999


def test_a_pushed_apple_comes_to_rest(monkeypatch):
    task = task_of("touch")
    state = task.home_state()
    state[1 + task.model.nq + task.model.joint("apple").dofadr[0]] = 0.1
    env = env_at(task, state, monkeypatch)
    assert np.linalg.norm(play(env, QUIET, 3.0).apple.velocity) < 0.005


@pytest.mark.parametrize(
    ("joint", "force", "toward"), [("drawer", (-3.0, 0.0, 0.0), 0), ("faucet", (0.0, -3.0, 0.0), 1)]
)
def test_drawer_and_faucet_move_by_their_handles_and_stay(joint, force, toward):
    model = task_of("touch").model
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_forward(model, data)
    site, body = model.site(f"{joint}_handle").id, model.body(joint).id
    before = data.site_xpos[site].copy()
    for _ in range(200):
        data.qfrc_applied[:] = 0.0
        mujoco.mj_applyFT(model, data, np.array(force), np.zeros(3), data.site_xpos[site], body, data.qfrc_applied)
        mujoco.mj_step(model, data)
    moved = data.joint(joint).qpos[0] / model.joint(joint).range[1]
    assert moved > 0.8
    assert data.site_xpos[site][toward] < before[toward] - 0.05
    data.qfrc_applied[:] = 0.0
    for _ in range(200):
        mujoco.mj_step(model, data)
    assert data.joint(joint).qpos[0] / model.joint(joint).range[1] > moved - 0.05


TURNED_40 = np.array([np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20)), 0.0, 0.0])
SUCCESS = {  # task -> poses with and without success
    "touch": ({"apple": free(np.array(REST_POSITION) + (0.02, 0, 0))}, {"apple": free((0.5, 0.1, 0.025))}),
    "lift": ({"apple": free((0.5, 0.0, 0.46))}, {"apple": free((0.5, 0.0, 0.44))}),
    "move_to": (
        {"apple": free((0.5, -0.03, 0.025)), "box": free((0.5, -0.1, 0.05))},
        {"apple": free((0.5, -0.02, 0.025)), "box": free((0.5, -0.1, 0.05))},
    ),
    "place_upright": ({"box": free((0.5, -0.1, 0.05))}, {"box": free((0.5, -0.1, 0.025), LYING)}),
    "flip": ({"box": free((0.5, -0.1, 0.05), UPSIDE_DOWN)}, {"box": free((0.5, -0.1, 0.05))}),
    "lift_both": (
        {"apple": free((0.5, 0.1, 0.13)), "box": free((0.5, -0.1, 0.16))},
        {"apple": free((0.5, 0.1, 0.13)), "box": free((0.5, -0.1, 0.14))},
    ),
    "open_drawer": ({"drawer": 0.81 * DRAWER_RANGE_M}, {"drawer": 0.79 * DRAWER_RANGE_M}),
    "turn_on_faucet": ({"faucet": 0.81 * FAUCET_RANGE_RAD}, {"faucet": 0.79 * FAUCET_RANGE_RAD}),
}


def test_every_task_has_a_case():
    assert sorted(SUCCESS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_success_is_true_where_it_should_be_and_false_elsewhere(name, monkeypatch):
    task = task_of(name)
    for poses, expected in zip(SUCCESS[name], (True, False), strict=True):
        env = env_at(task, state_of(task, **poses), monkeypatch)
        assert bool(task.success(env.world)[0]) is expected


@pytest.mark.parametrize("name", ["lift", "move_to", "place_upright", "flip", "lift_both"])
def test_success_must_be_held_for_half_a_second(name, monkeypatch):
    task = task_of(name)
    judge = task.judge(1)
    assert judge is not None
    good, bad = (env_at(task, state_of(task, **poses), monkeypatch).world for poses in SUCCESS[name])
    verdicts = [bool(judge.update(world)[0]) for world in [*[good] * 9, bad, *[good] * 10]]
    assert verdicts == [False] * 19 + [True]


def test_distances_to_the_box_follow_its_orientation(monkeypatch):
    task = task_of("move_to")
    poses = {"apple": free((0.5, -0.1, 0.25)), "box": free((0.5, -0.1, 0.05))}
    standing = env_at(task, state_of(task, **poses), monkeypatch).world
    assert task.apple_to_box(standing)[0] == pytest.approx(0.25 - 0.10)
    assert task.box_bottom(standing)[0] == pytest.approx(0.0)
    poses["box"] = free((0.5, -0.1, 0.1), TURNED_40)
    tilted = env_at(task, state_of(task, **poses), monkeypatch).world
    lowest = 0.1 - 0.05 * np.cos(np.deg2rad(40)) - 0.025 * np.sin(np.deg2rad(40))
    assert task.box_bottom(tilted)[0] == pytest.approx(lowest)


@pytest.mark.parametrize("name", NAMES)
def test_starts_are_on_the_table_apart_and_without_success(name):
    task = task_of(name)
    env = BatchEnv(task, n_envs=64, seed=3)
    env.reset()
    assert not task.success(env.world).any()
    assert (task.apple_to_box(env.world) > APPLE_RADIUS_M).all()
    np.testing.assert_allclose(task.box_bottom(env.world), 0.0, atol=1e-6)
    assert (np.abs(env.world.box.up[:, 2]) < 1e-6).all() == task.box_lies


def test_an_action_is_velocities_of_the_joints_and_of_both_fingers():
    task = task_of("touch")
    states = np.tile(task.home_state(), (2, 1))
    control = task.control(np.array([[2.0] * 8, [-0.5] * 8]), states, states[:, :9])
    np.testing.assert_allclose(control[0], [MAX_SPEED_RAD_S] * 7 + [MAX_FINGER_SPEED_M_S] * 2)
    np.testing.assert_allclose(control[1], [-0.5 * MAX_SPEED_RAD_S] * 7 + [-0.5 * MAX_FINGER_SPEED_M_S] * 2)
