"""The tabletop tasks: commands stay within limits, quantities are MuJoCo's, starts are fresh, experts succeed."""

from __future__ import annotations

import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.core.build import build
from embodied.sandbox.static_check import check_source
from embodied.sim.actors import expert_actor, zero_actor
from embodied.sim.batch_env import BatchEnv
from embodied.sim.evaluation import evaluate
from embodied.sim.ik import ArmKinematics
from embodied.sim.tabletop import ARM_JOINTS, JOINTS, MAX_LEAD, MAX_SPEED

CONF = Path(__file__).resolve().parents[3] / "conf" / "task"
TASKS = (
    "reach", "push_cube", "lift_cube", "pick_cube", "press_button", "open_drawer", "close_drawer", "turn_faucet",
    "open_cabinet_door",
)  # fmt: skip
PROPS = {
    "press_button": "button_base",
    "open_drawer": "drawer_base",
    "close_drawer": "drawer_base",
    "turn_faucet": "faucet_base",
    "open_cabinet_door": "cabinet_base",
}
# Quantity -> (site or body, kind) or joint; what MuJoCo itself says about the state.
SITES = {
    "gripper.position": "tool",
    "drawer.handle_position": "drawer_handle",
    "button.top_position": "button_top",
    "faucet.handle_position": "faucet_handle",
    "cabinet.handle_position": "cabinet_handle",
    "cube.position": "cube",
}
SLIDES_AND_HINGES = {
    "gripper.jaw_angle": "gripper",
    "drawer.opening": "drawer_slide",
    "button.pressed_depth": "button_slide",
    "faucet.angle": "faucet_hinge",
    "cabinet.door_angle": "cabinet_hinge",
}
PROGRESS = {  # quantity that the expert drives, and which way it goes
    "press_button": ("button.pressed_fraction", 1),
    "open_drawer": ("drawer.opening_fraction", 1),
    "close_drawer": ("drawer.opening_fraction", -1),
    "turn_faucet": ("faucet.angle", 1),
    "open_cabinet_door": ("cabinet.door_angle", 1),
}

_tasks: dict = {}


def task_of(name: str):
    if name not in _tasks:
        _tasks[name] = build(yaml.safe_load((CONF / f"{name}.yaml").read_text()))
    return _tasks[name]


def played(name: str, n: int, steps: int, seed: int = 3) -> BatchEnv:
    """An environment after some random steps, without new starts."""
    env, rng = BatchEnv(task_of(name), n_envs=n, seed=seed), np.random.default_rng(seed)
    env.reset()
    for _ in range(steps):
        env.step(rng.uniform(-1, 1, (n, 6)), autoreset=False)
    return env


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(("reach", "open_drawer", "lift_cube")),
    st.lists(st.lists(st.floats(-1, 1), min_size=6, max_size=6), min_size=1, max_size=8),
    st.integers(1, 12),
)
def test_setpoints_stay_in_range_and_near_their_joints(name, actions, repeats):
    task = task_of(name)
    env = BatchEnv(task, n_envs=1, seed=0)
    env.reset()
    low, high = task.model.actuator_actrange[:6].T
    first = 1 + task.model.nq + task.model.nv
    columns = 1 + np.array([task.model.joint(j).qposadr[0] for j in JOINTS])
    for action in actions:
        for _ in range(repeats):
            before = env.engine.states[0]
            angle, setpoint = before[columns], before[first : first + 6]
            env.step(np.array([action]), autoreset=False)
            after = env.engine.states[0, first : first + 6]
            assert (after >= low - 1e-9).all()
            assert (after <= high + 1e-9).all()
            lead, ran_on = after - angle, np.abs(after - setpoint)
            assert (np.abs(lead) <= np.maximum(MAX_LEAD, np.abs(setpoint - angle)) + 1e-9).all()
            assert (ran_on <= MAX_SPEED * task.control_dt_s + 1e-9).all()


def test_pushing_against_the_table_does_not_wind_up():
    task = task_of("reach")
    env = BatchEnv(task, n_envs=1, seed=0)
    env.reset()
    for _ in range(60):
        env.step(np.array([[0.0, 1.0, 1.0, 0.0, 0.0, 0.0]]), autoreset=False)
    lead = env.world.quantity("arm.servo_lead")[0]
    assert (np.abs(lead) <= MAX_LEAD + 0.05).all()  # the joint itself may spring back a little
    assert np.abs(lead).max() > 0.1


def test_inverse_kinematics_meets_reachable_poses():
    task, rng = task_of("reach"), np.random.default_rng(0)
    arm = ArmKinematics(task.model, ARM_JOINTS, "tool")
    home = task.home_state()[1:6]
    for _ in range(50):
        position, axis = arm.forward(np.clip(home + rng.uniform(-0.4, 0.4, 5), arm.low, arm.high))
        angles, left = arm.solve(home, position, axis, iterations=200)
        assert left < 1e-3
        assert (angles >= arm.low).all()
        assert (angles <= arm.high).all()
        reached, points = arm.forward(angles)
        assert np.linalg.norm(reached - position) < 1e-3
        assert points @ axis > np.cos(np.radians(3.0))
        assert arm.frame(angles)[:, 0] == pytest.approx(points)


def test_rates_are_the_derivative_of_forward():
    arm = ArmKinematics(task_of("reach").model, ARM_JOINTS, "tool", damping=1e-4)
    angles = task_of("reach").home_state()[1:6]
    error = np.array([4e-4, -3e-4, 5e-4])
    before, after = arm.forward(angles)[0], arm.forward(angles + arm.rates(angles, error))[0]
    assert after - before == pytest.approx(error, abs=2e-5)


@pytest.mark.parametrize("name", TASKS)
def test_quantities_agree_with_mujoco(name):
    env = played(name, n=6, steps=25)
    world, task = env.world, env.task
    for row in range(env.n_envs):
        model = env.engine.model_of(row)
        data = mujoco.MjData(model)
        mujoco.mj_setState(model, data, env.engine.states[row], mujoco.mjtState.mjSTATE_FULLPHYSICS)
        mujoco.mj_setState(model, data, env.engine.control[row], task.control_spec)
        mujoco.mj_forward(model, data)
        for path, site in SITES.items():
            if path in task.schema.quantities:
                assert world.quantity(path)[row] == pytest.approx(data.site(site).xpos, abs=1e-9)
        for path, joint in SLIDES_AND_HINGES.items():
            if path in task.schema.quantities:
                assert world.quantity(path)[row] == pytest.approx(data.joint(joint).qpos[0], abs=1e-12)
        velocity = np.zeros(6)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_SITE, model.site("tool").id, velocity, 0)
        assert world.quantity("gripper.velocity")[row] == pytest.approx(velocity[3:], abs=1e-8)
        axis = data.site("tool").xmat.reshape(3, 3)[:, 0]
        assert world.quantity("gripper.approach_axis")[row] == pytest.approx(axis, abs=1e-9)
        lead = data.act[:6] - [data.joint(j).qpos[0] for j in JOINTS]
        assert world.quantity("arm.servo_lead")[row] == pytest.approx(lead, abs=1e-12)


@pytest.mark.parametrize("name", TASKS)
def test_differences_point_from_one_to_the_other(name):
    world = played(name, n=4, steps=5).world
    ends = {"gripper.to_cube": "cube.position", "gripper.to_button": "button.top_position"}
    for group in ("drawer", "faucet", "cabinet"):
        if f"{group}.handle_position" in world.schema.quantities:
            ends["gripper.to_handle"] = f"{group}.handle_position"
    for path, end in ends.items():
        if path in world.schema.quantities:
            difference = world.quantity(end) - world.quantity("gripper.position")
            assert world.quantity(path) == pytest.approx(difference)


@pytest.mark.parametrize(("name", "group", "joint"), [
    ("turn_faucet", "faucet.handle_direction", "faucet_hinge"),
    ("open_cabinet_door", "cabinet.pull_direction", "cabinet_hinge"),
])  # fmt: skip
def test_directions_are_those_in_which_the_handle_moves(name, group, joint):
    env = played(name, n=4, steps=3)
    path = group.split(".")[0] + ".handle_position"
    before, way = env.world.quantity(path).copy(), env.world.quantity(group).copy()
    states = env.engine.states.copy()
    states[:, 1 + env.task.model.joint(joint).qposadr[0]] += 1e-4
    sensors = env.engine.read(states)
    after = env.task.world(states, sensors, env._parameters, env._t0).quantity(path)
    moved = (after - before) / np.linalg.norm(after - before, axis=-1, keepdims=True)
    assert moved == pytest.approx(way, abs=1e-3)


@pytest.mark.parametrize("name", TASKS)
def test_no_episode_starts_done_or_with_tension_in_the_servos(name):
    env = BatchEnv(task_of(name), n_envs=200, seed=17)
    env.reset()
    assert not env.task.success(env.world).any()
    assert np.abs(env.world.quantity("arm.servo_lead")).max() < 1e-9
    if "cube.position" in env.world.schema.quantities:
        assert np.linalg.norm(env.world.quantity("gripper.to_cube"), axis=-1).min() > 0.03


@pytest.mark.parametrize("name", sorted(PROPS))
def test_props_stand_where_the_start_drew_them(name):
    task, n = task_of(name), 64
    env = BatchEnv(task, n_envs=n, seed=5)
    env.reset()
    body = task.model.body(PROPS[name]).id
    shift = env.engine.control[:, 6:9] - task.model.body_pos[body]
    limits = np.array(task.spread_m)
    assert (np.abs(shift[:, :2]) <= limits + 1e-12).all()
    assert (np.ptp(shift[:, :2], axis=0) > 1.5 * limits).all()
    assert (shift[:, 2] == 0).all()
    path = next(p for p in SITES if p in task.schema.quantities and p != "gripper.position")
    places = env.world.quantity(path)[:, :2]
    assert np.corrcoef(places[:, 1], shift[:, 1])[0, 1] > 0.8


@pytest.mark.parametrize("name", ["push_cube", "lift_cube", "pick_cube"])
def test_cubes_and_goals_start_where_the_task_says(name):
    task = task_of(name)
    start = task.start(np.random.default_rng(0), 300)
    column = 1 + task.model.joint("cube_free").qposadr[0]
    cube = start.states[:, column : column + 3]
    assert (cube[:, :2] >= task.cube_low_m).all()
    assert (cube[:, :2] <= task.cube_high_m).all()
    assert np.linalg.norm(start.states[:, column + 3 : column + 7], axis=1) == pytest.approx(np.ones(300))
    if name == "push_cube":
        distance = np.linalg.norm(start.parameters["goal.position"] - cube, axis=1)
        assert (distance >= task.goal_distance_m[0] - 1e-9).all()
        assert (distance <= task.goal_distance_m[1] + 1e-9).all()


def test_a_cube_left_alone_comes_to_rest():
    """The solver converges: a light cube on the table must not gain energy."""
    env = BatchEnv(task_of("lift_cube"), n_envs=8, seed=1)
    env.reset()
    first = 1 + env.task.model.nq + env.task.model.joint("cube_free").dofadr[0]
    kick = np.array([0.15, 0.15, 0.1, 3.0, 3.0, 3.0])
    env.engine.states[:, first : first + 6] = np.random.default_rng(0).normal(size=(8, 6)) * kick
    for _ in range(60):
        env.step(np.zeros((8, 6)), autoreset=False)
    assert np.linalg.norm(env.world.quantity("cube.velocity"), axis=-1).max() < 0.005


@pytest.mark.parametrize("name", TASKS)
def test_expert_rewards_pass_the_check_for_programs(name):
    task = task_of(name)
    result = check_source(task.expert_reward().source, task.schema)
    assert result.ok, str(result)
    assert result.entry == "reward"
    assert result.reads, "a reward that reads nothing of the world"
    assert set(result.reads) <= set(task.schema.quantities)


@pytest.mark.parametrize("name", TASKS)
def test_expert_solves_what_doing_nothing_does_not(name):
    task, n = task_of(name), 12
    assert evaluate(task, zero_actor(task), episodes=n, seed=2).rate == 0.0
    worlds: list = []
    result = evaluate(task, expert_actor(task, n), episodes=n, seed=2, record=worlds)
    assert result.rate >= 11 / 12
    if name in PROGRESS:
        path, sign = PROGRESS[name]
        assert (sign * (worlds[-1].quantity(path) - worlds[0].quantity(path)) > 0).all()


@pytest.mark.parametrize("name", TASKS)
def test_the_expert_reward_prefers_the_expert(name):
    """Returns order zero < expert; the last step of a solved episode pays more than its first."""
    task, n = task_of(name), 8
    reward = sys.modules[type(task).__module__].reward
    totals = {}
    for label, actor in (("zero", zero_actor(task)), ("expert", expert_actor(task, n))):
        worlds: list = []
        evaluate(task, actor, episodes=n, seed=4, record=worlds)
        still = np.zeros((n, 6))
        totals[label] = np.array([sum(reward(world, still).values()) for world in worlds])
    assert totals["expert"].sum(0).mean() > totals["zero"].sum(0).mean() + 20
    assert totals["expert"][-1].mean() > totals["expert"][0].mean() + 1.0
