"""What every task in `conf/task/` promises. A new yaml is tested by being there."""

from __future__ import annotations

import warnings
from functools import cache

import mujoco
import numpy as np
import pytest
import yaml
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.quantities import Schema
from embodied.sim.batch_env import BatchEnv
from embodied.sim.gym_env import TaskEnv
from embodied.sim.randomization import Randomization
from embodied.sim.render import Renderer
from embodied.sim.task import Task

NAMES = sorted(path.stem for path in (conf_dir() / "task").glob("*.yaml"))
EXPERT_EPISODES, EXPERT_RATE = 40, 0.95
RANDOMIZATION = {
    "mass_factor": 1.2,
    "friction_factor": 1.2,
    "max_delay_steps": 2,
    "observation_noise_std": 0.01,
    "camera_position_m": 0.01,
}


@cache
def made(name: str) -> Task:
    return build(yaml.safe_load((conf_dir() / "task" / f"{name}.yaml").read_text()))


@pytest.fixture(params=NAMES)
def task(request) -> Task:
    return made(request.param)


def batch(task: Task, n: int = 4, seed: int = 0, **more) -> BatchEnv:
    env = BatchEnv(task, n_envs=n, seed=seed, **more)
    env.reset()
    return env


def actions(task: Task, steps: int, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, n, task.action_size))


def set_elapsed(env: BatchEnv, steps: list[int]) -> None:
    """Puts the environments' step counters where a test needs them, by way of a snapshot."""
    state = env.get_state()
    state["arrays"]["elapsed"] = np.array(steps)
    env.set_state(state)


def assert_worlds_equal(a, b) -> None:
    for path, value in a.values().items():
        np.testing.assert_array_equal(value, b.quantity(path), err_msg=path)


def test_the_yaml_and_the_schema_are_valid(task):
    assert task.instruction.strip()
    schema = task.schema
    assert Schema.from_json(schema.to_json()).to_json() == schema.to_json()
    for path, quantity in schema.quantities.items():
        assert quantity.unit, path
        assert quantity.frame, path
        assert quantity.description, path
        assert f"{path.rpartition('.')[2]}: Array" in schema.class_listing()


def test_quantities_have_their_declared_shapes_and_are_finite(task):
    world = batch(task, 3).world
    for path, value in world.values().items():
        assert value.shape == (3, *task.schema[path].shape), path
        assert np.isfinite(value).all(), path
        assert not value.flags.writeable, path


def test_the_observation_is_finite_moves_and_is_its_own_memory(task):
    env = batch(task, 3)
    first = env.reset()
    kept = first.copy()
    assert first.shape == (3, task.observation_size)
    steps = [env.step(a) for a in actions(task, 5, 3)]
    for step in steps:
        assert np.isfinite(step.observation).all()
        assert not np.shares_memory(step.observation, env.engine.states)
    np.testing.assert_array_equal(first, kept)
    spread = np.ptp(np.stack([s.final_observation for s in steps]), axis=0)
    assert (spread.max(axis=1) > 1e-6).all(), "an environment's observation is constant"


def test_equal_seeds_give_equal_episodes_and_others_other_starts(task):
    runs = []
    for seed in (7, 7, 8):
        env = batch(task, 3, seed=seed)
        start = env.engine.states.copy()
        runs.append((start, [env.step(a).observation for a in actions(task, 4, 3)], env.world))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
    assert_worlds_equal(runs[0][2], runs[1][2])
    start_7, start_8 = runs[0][1][0], runs[2][1][0]
    assert not np.array_equal(start_7, start_8), "the start does not vary with the seed"
    assert not np.array_equal(start_7[0], start_7[1]), "environments of one batch start alike"


@pytest.mark.parametrize("randomized", [False, True], ids=["plain", "randomized"])
def test_a_state_continues_bit_by_bit(task, randomized):
    def fresh(seed: int) -> BatchEnv:
        return batch(task, 3, seed=seed, randomization=Randomization(**RANDOMIZATION) if randomized else None)

    env = fresh(0)
    set_elapsed(env, [0, task.episode_steps - 6, 0])  # one episode ends on each side of the snapshot
    plan = actions(task, 14, 3)
    for action in plan[:4]:
        env.step(action)
    state = env.get_state()
    expected = [env.step(a) for a in plan[4:]]
    other = fresh(1234)  # another object, with another past
    other.step(plan[0])
    other.set_state(state)
    for action, want in zip(plan[4:], expected, strict=True):
        got = other.step(action)
        np.testing.assert_array_equal(got.observation, want.observation)
        np.testing.assert_array_equal(got.final_observation, want.final_observation)
        for flag in ("success", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(got, flag), getattr(want, flag))
        assert_worlds_equal(got.world, want.world)
        assert_worlds_equal(got.world.previous, want.world.previous)
    np.testing.assert_array_equal(other.engine.states, env.engine.states)


def test_success_and_end_are_booleans_of_the_batch(task):
    env = batch(task, 3)
    world = env.step(actions(task, 1, 3)[0]).world
    for verdict in (task.success(world), task.terminated(world)):
        assert verdict.shape == (3,)
        assert verdict.dtype == bool
    for row in range(3):
        assert bool(task.success(world.rows(row))) == task.success(world)[row]
        assert bool(task.terminated(world.rows(row))) == task.terminated(world)[row]
    begun = batch(task, 8)
    if task.judge(8) is None:
        assert not task.success(begun.world).any(), "an episode starts with success"
    else:
        assert not begun.step(np.zeros((8, task.action_size))).success.any(), "an episode begins with success"


def test_the_expert_reward_is_batched_and_equals_row_by_row(task):
    program = task.expert_reward()
    reward, by_row = program.bind(reviewed=True), program.with_evaluation("by_row").bind(reviewed=True)
    assert not reward.by_row
    env = batch(task, 5)
    for action in actions(task, 6, 5):
        step = env.step(action)
        total, terms = reward(step.world, step.action)
        rows_total, rows_terms = by_row(step.world, step.action)
        np.testing.assert_allclose(total, rows_total, rtol=1e-9, atol=1e-12)
        for name in terms:
            np.testing.assert_allclose(terms[name], rows_terms[name], rtol=1e-9, atol=1e-12)


def test_previous_is_right_across_an_autoreset(task):
    env = batch(task, 3)
    assert env.world.previous is env.world
    set_elapsed(env, [0, task.episode_steps - 2, 0])
    plan = actions(task, 4, 3) * 0.1
    before = env.world.values()
    for i, action in enumerate(plan):
        step = env.step(action)
        for path, value in before.items():
            np.testing.assert_array_equal(step.world.previous.quantity(path), value, err_msg=path)
        assert step.truncated[1] == (i == 1)
        before = env.world.values()
        if i == 1:
            assert env.world.time[1] == 0.0
            for path, value in before.items():
                np.testing.assert_array_equal(env.world.previous.quantity(path)[1], value[1], err_msg=path)
            kept = step.world.previous.quantity(task.observation[0])
            np.testing.assert_array_equal(env.world.previous.quantity(task.observation[0])[[0, 2]], kept[[0, 2]])


def test_an_episode_is_truncated_at_its_length(task):
    env = batch(task, 2)
    set_elapsed(env, [task.episode_steps - 1, task.episode_steps - 2])
    quiet = np.zeros((2, task.action_size))
    first, second = env.step(quiet), env.step(quiet)
    assert first.truncated.tolist() == [True, False]
    assert second.truncated.tolist() == [False, True]
    assert not (first.terminated & first.truncated).any()


def test_results_do_not_depend_on_threads_or_on_the_size_of_the_batch(task):
    n = 5
    wide, threaded = batch(task, n), batch(task, n, n_threads=2)
    singles = [batch(task, 1) for _ in range(n)]
    whole = wide.get_state()
    for row, env in enumerate(singles):
        state = env.get_state()
        for key, value in whole["arrays"].items():
            if key != "pending":
                state["arrays"][key] = value[row : row + 1]
        env.set_state(state)
    for action in actions(task, 4, n):  # few steps: no episode ends, so no start is drawn
        want = wide.step(action * 0.3)
        assert not (want.terminated | want.truncated).any()
        np.testing.assert_array_equal(threaded.step(action * 0.3).observation, want.observation)
        for row, env in enumerate(singles):
            got = env.step(action[row : row + 1] * 0.3)
            np.testing.assert_allclose(got.observation[0], want.observation[row], rtol=0, atol=1e-13)
    np.testing.assert_array_equal(np.concatenate([e.engine.states for e in singles]), wide.engine.states)
    for env in (wide, threaded, *singles):
        env.close()


def test_the_environment_passes_gymnasiums_and_sb3s_checks(task):
    env = TaskEnv(task, render_mode="rgb_array", width=32, height=24)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on unbounded observations
        check_env(env)
        check_env_sb3(env)
    assert env.observation_space.contains(env.reset(seed=0)[0])
    observation, reward, _, _, info = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation)
    assert reward == pytest.approx(sum(info["reward_terms"].values()))
    picture = env.render()
    assert picture is not None
    assert (picture.shape, picture.dtype) == ((24, 32, 3), np.uint8)
    env.close()


def test_the_model_has_a_camera_that_sees_something(task):
    assert task.model.ncam >= 1
    start = batch(task, 1).start_of(0)
    with Renderer(task, width=64, height=48) as renderer:
        picture = renderer.render(start.states[0], {k: v[0] for k, v in start.parameters.items()})
    assert picture.shape == (48, 64, 3)
    assert picture.std() > 2.0, "the picture is empty"


def test_the_control_stays_in_the_models_range(task):
    env = batch(task, 4)
    for action in actions(task, 3, 4) * 3:
        env.step(np.clip(action, -1, 1))
        assert np.isfinite(env.engine.control).all()
        if task.control_spec == int(mujoco.mjtState.mjSTATE_CTRL):
            limited = task.model.actuator_ctrllimited.astype(bool)
            low, high = task.model.actuator_ctrlrange[limited].T
            used = env.engine.control[:, limited]
            assert ((used >= low - 1e-9) & (used <= high + 1e-9)).all()


WITH_EXPERT = [name for name in NAMES if made(name).has_expert]


@pytest.mark.parametrize("name", WITH_EXPERT)
def test_the_scripted_expert_succeeds(name):
    task = made(name)
    env = BatchEnv(task, n_envs=EXPERT_EPISODES, seed=11, n_threads=2)
    env.reset()
    expert = task.expert(EXPERT_EPISODES)
    expert.reset(np.arange(EXPERT_EPISODES))
    succeeded, running = np.zeros(EXPERT_EPISODES, bool), np.ones(EXPERT_EPISODES, bool)
    for _ in range(task.episode_steps):
        step = env.step(expert.act(env.world), autoreset=False)
        succeeded |= step.success & running
        running &= ~(step.terminated | succeeded)
        if not running.any():
            break
    env.close()
    assert succeeded.mean() >= EXPERT_RATE, f"{succeeded.sum()} of {EXPERT_EPISODES} episodes"
