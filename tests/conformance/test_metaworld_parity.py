"""Every Meta-World task equals the package's own environment: starts, observations, rewards, success.

Formulas and kinematics agree to rounding at the same state. Physics agrees to the solver's tolerance: our engine
starts the solver of each control step cold, the package starts it with the last solution. So there are two
comparisons: one step at a time from the package's own states, and free-running from the same start and actions.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.sim.batch_env import BatchEnv

pytestmark = [pytest.mark.metaworld, pytest.mark.filterwarnings("ignore:Constant")]
TASKS = sorted(path.stem for path in (Path(conf_dir()) / "task" / "metaworld").glob("*.yaml"))
STEPS = {"scripted": 150, "random": 40}
FREE_STEPS = 40
ONE_STEP, FREE = 5e-4, 5e-3  # of observed positions [m] and quaternions


def task_of(name: str):
    return build(yaml.safe_load((Path(conf_dir()) / "task" / "metaworld" / f"{name}.yaml").read_text()))


def draw_of(task, seed: int) -> np.ndarray:
    """One of the benchmark's random vectors `(1, d)`."""
    space, rng = task.benchmark._random_reset_space, np.random.default_rng(seed)
    while True:
        draw = rng.uniform(space.low, space.high, (1, space.low.size))
        if task.accepts(draw).all():
            return draw


def package_env(task, draw: np.ndarray):
    """A fresh environment of the package that starts with `draw`."""
    env = type(task.benchmark)()
    env._partially_observable, env._freeze_rand_vec, env._set_task_called = False, True, True
    env._last_rand_vec = draw[0]
    env.__dict__.pop("sawyer_observation_space", None)  # cached with a hidden goal
    env.reset()
    return env


def pair(name: str, seed: int):
    """Our environment and the package's with the same start."""
    task = task_of(name)
    draw = draw_of(task, seed)
    ours = BatchEnv(task, n_envs=1, seed=0)
    task.start = lambda _rng, _n: task.start_from(draw)
    ours.reset()
    return task, ours, package_env(task, draw)


def actor(task, kind: str):
    """The package's scripted policy, or random actions."""
    from metaworld.policies import ENV_POLICY_MAP

    policy, rng = ENV_POLICY_MAP[task.env_id](), np.random.default_rng(1)
    return lambda seen: rng.uniform(-1, 1, 4) if kind == "random" else np.clip(policy.get_action(seen), -1, 1)


def take_over(ours: BatchEnv, env) -> None:
    """Gives our only environment the package's physics state and hand."""
    position, _ = ours.task._hand_columns
    ours.engine.states = np.concatenate([[env.data.time], env.data.qpos, env.data.qvel, env.data.act])[None]
    ours._control = ours._control.copy()
    ours._control[0, position] = env.data.mocap_pos[0]
    ours.engine.control = ours._control.copy()


@pytest.mark.parametrize("name", TASKS)
def test_starts_are_the_packages(name):
    task = task_of(name)
    nq = task.model.nq
    for seed in range(3):
        draw = draw_of(task, seed)
        env, start = package_env(task, draw), task.start_from(draw)
        np.testing.assert_allclose(start.states[0, 1 : 1 + nq], env.data.qpos, rtol=0, atol=2e-4)
        np.testing.assert_allclose(start.states[0, 1 + nq :], env.data.qvel, rtol=0, atol=2e-3)
        np.testing.assert_allclose(start.parameters["goal.position"][0], env._target_pos, rtol=0, atol=1e-6)
        if task.moved_body is not None:
            place = start.control[0, task._mocap_columns(task.moved_body)[0]]
            np.testing.assert_allclose(place, env.model.body(task.moved_body).pos, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(STEPS))
@pytest.mark.parametrize("name", TASKS)
def test_each_step_from_the_packages_state_is_the_packages(name, kind):
    task, ours, env = pair(name, seed=7)
    reward, act = task.expert_reward().bind(reviewed=True), actor(task, kind)
    seen = env._get_obs()
    for index in range(STEPS[kind]):
        action = act(seen)
        take_over(ours, env)
        seen, theirs, _, _, info = env.step(action)
        got = ours.step(action[None], autoreset=False).final_observation[0]
        np.testing.assert_allclose(got[:18], seen[:18], rtol=0, atol=ONE_STEP, err_msg=f"step {index}")
        np.testing.assert_allclose(got[36:], seen[36:], rtol=0, atol=1e-6, err_msg=f"step {index}")
        if index:  # the first stacked frame of the package can be from before things were placed
            np.testing.assert_allclose(got[18:36], seen[18:36], rtol=0, atol=ONE_STEP, err_msg=f"step {index}")
        # Reward and success at the package's exact state, where no solver comes in between.
        take_over(ours, env)
        ours.engine.control[0, :2] = env.data.ctrl
        world = ours._world_of(ours._read(), ours.world.previous)
        np.testing.assert_allclose(task.observe(world)[0, :18], seen[:18], rtol=0, atol=1e-6, err_msg=f"step {index}")
        total, _ = reward(world, action[None])
        assert total[0] == pytest.approx(float(theirs), abs=1e-5), f"step {index}"
        assert bool(task.success(world)[0]) == bool(info["success"]), f"step {index}"
        ours._world = world


@pytest.mark.parametrize("name", TASKS)
def test_free_running_from_the_same_start_stays_together(name):
    task, ours, env = pair(name, seed=3)
    act, seen = actor(task, "scripted"), env._get_obs()
    for index in range(FREE_STEPS):
        action = act(seen)
        seen = env.step(action)[0]
        got = ours.step(action[None], autoreset=False).final_observation[0]
        np.testing.assert_allclose(got[:18], seen[:18], rtol=0, atol=FREE, err_msg=f"step {index}")


@pytest.mark.parametrize("name", TASKS)
def test_the_model_is_the_packages_but_for_the_mocap_body(name):
    task = task_of(name)
    model, theirs = task.model, task.benchmark.model
    for field in (
        "body_mass",
        "body_pos",
        "geom_size",
        "geom_friction",
        "jnt_range",
        "dof_damping",
        "actuator_ctrlrange",
    ):
        moved = None if task.moved_body is None else model.body(task.moved_body).id
        ours, package = getattr(model, field).copy(), getattr(theirs, field).copy()
        if field == "body_pos" and moved is not None:
            ours[moved] = package[moved]
        np.testing.assert_allclose(ours, package, atol=1e-12, err_msg=field)
    assert model.opt.timestep == theirs.opt.timestep
    weld = model.eq_type == mujoco.mjtEq.mjEQ_WELD
    np.testing.assert_allclose(model.eq_data[weld], theirs.eq_data[weld], atol=1e-12)
