"""Cameras of a robot: what they show, and that two tasks in a row do not spoil each other's pictures."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from embodied.core.errors import ConfigError, UnknownNameError
from embodied.rl.writing import make_task
from embodied.sim.batch_env import BatchEnv
from embodied.sim.cameras import Cameras, check_cameras, observe, state, state_size


def seen(name: str, camera: str, seed: int = 0) -> np.ndarray:
    task = make_task(name)
    env = BatchEnv(task, n_envs=2, seed=seed)
    env.reset()
    with Cameras(task, [camera], 48, 64) as eyes:
        return observe(task, env, eyes, [0, 1])[f"observation.images.{camera}"]


@pytest.mark.metaworld
def test_two_tasks_in_a_row_give_sane_and_different_pictures():
    first = seen("metaworld/drawer-open", "front")
    others = [seen("metaworld/window-close", "front"), seen("reach", "front"), seen("metaworld/button-press", "front")]
    again = seen("metaworld/drawer-open", "front")
    assert np.array_equal(first, again)
    for pictures in (first, *others):
        assert pictures.shape == (2, 48, 64, 3)
        assert 20.0 < pictures.std() < 100.0  # neither blank nor noise
        neighbours = np.abs(np.diff(pictures.astype(int), axis=2)).mean()
        assert neighbours < 15.0  # noise has about 85
    assert len({hashlib.sha256(p.tobytes()).hexdigest() for p in (first, *others)}) == 4


@pytest.mark.metaworld
def test_a_camera_sees_no_markers():
    """Where the goal is would be given away."""
    task = make_task("metaworld/reach")
    env = BatchEnv(task, n_envs=1, seed=0)
    env.reset()
    start = env.start_of(0)
    parameters = {k: v[0] for k, v in start.parameters.items()}
    elsewhere = {**parameters, "goal.position": parameters["goal.position"] + 0.1}
    with Cameras(task, ["front"], 64, 64) as eyes:
        pictures = [
            eyes.look(start.states[0], p, env.engine.model_of(0), env.engine.control[0])["observation.images.front"]
            for p in (parameters, elsewhere)
        ]
    assert np.array_equal(*pictures)


def test_a_goal_that_is_a_body_is_seen():
    task = make_task("reach")
    env = BatchEnv(task, n_envs=1, seed=0)
    env.reset()
    start = env.start_of(0)
    parameters = {k: v[0] for k, v in start.parameters.items()}
    elsewhere = {**parameters, "goal.position": parameters["goal.position"] + 0.1}
    with Cameras(task, ["front"], 64, 64) as eyes:
        one, two = (eyes.look(start.states[0], p)["observation.images.front"] for p in (parameters, elsewhere))
    assert not np.array_equal(one, two)


def test_the_state_is_what_the_robot_senses():
    task = make_task("reach")
    env = BatchEnv(task, n_envs=3, seed=0)
    env.reset()
    found = state(task, env.world)
    assert found.shape == (3, state_size(task))
    assert np.array_equal(found[:, :5], env.world.quantity("arm.joint_positions"))


def test_mistakes_are_named():
    with pytest.raises(UnknownNameError, match="unknown camera 'fronts'"):
        check_cameras(make_task("reach"), ["front", "fronts"])
    with pytest.raises(ConfigError, match="names no proprioception"):
        state_size(make_task("hopper"))
    with pytest.raises(ConfigError, match="at least one camera"):
        Cameras(make_task("reach"), [], 8, 8)


@pytest.mark.metaworld
@pytest.mark.parametrize("name", ["drawer-open", "drawer-close", "window-open", "window-close"])
def test_things_half_way_start_between_and_the_expert_still_succeeds(name):
    task = make_task(f"shared/{name}")
    env = BatchEnv(task, n_envs=8, seed=1)
    env.reset()
    usual = BatchEnv(make_task(f"metaworld/{name}"), n_envs=8, seed=1)
    usual.reset()
    travelled = np.linalg.norm(env.world.handle.position - env.world.goal.position, axis=-1)
    whole = np.linalg.norm(usual.world.handle.position - usual.world.goal.position, axis=-1)
    assert (travelled < 0.95 * whole.max()).all()
    assert not task.success(env.world).any()
    expert, done = task.expert(8), np.zeros(8, dtype=bool)
    for _ in range(150):
        done |= env.step(expert.act(env.world), autoreset=False).success
    assert done.mean() >= 0.9


@pytest.mark.metaworld
def test_a_wrong_start_fraction_is_refused():
    with pytest.raises(ConfigError, match="must rise within"):
        make_task("metaworld/drawer-open", start_fraction=(0.5, 0.2))
    with pytest.raises(ConfigError, match="has no slide"):
        make_task("metaworld/push", start_fraction=(0.1, 0.2))
