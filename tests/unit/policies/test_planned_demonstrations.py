"""An episode that was recorded elsewhere demonstrates what the same episode would have, had it been played."""

import dataclasses

import numpy as np
import pytest

from embodied.core.errors import ConfigError
from embodied.data.episode import Episode
from embodied.policies.demonstrations import planned, play
from embodied.rl.writing import make_task
from embodied.sim.actors import expert_actor
from embodied.sim.batch_env import BatchEnv

SEED = 5


def recorded(task):
    """The expert's episode as a planner's would be recorded, to the end of its time."""
    env, act = BatchEnv(task, n_envs=1, seed=SEED), expert_actor(task, 1)
    observation = env.reset()
    starts, actions = [env.start_of(0)], []
    for _ in range(task.episode_steps):
        actions.append(np.clip(act(observation, env.world), -1.0, 1.0)[0])
        observation = env.step(actions[-1][None], autoreset=False).observation
        starts.append(env.start_of(0))
    env.close()
    return Episode(
        task=task.name,
        task_config={},
        instruction=task.instruction,
        control_dt_s=task.control_dt_s,
        states=np.concatenate([s.states for s in starts]),
        controls=np.concatenate([s.control for s in starts]),
        actions=np.array(actions),
        parameters={name: value[0] for name, value in starts[0].parameters.items()},
        t0_s=float(starts[0].states[0, 0]),
    )


@pytest.mark.parametrize("name", ["open_drawer", "metaworld/drawer-open"])
def test_it_is_the_demonstration_that_playing_it_would_have_been(name):
    task = make_task(name)
    (wanted,) = play(task, expert_actor(task, 1), episodes=1, seed=SEED)
    found = planned(task, recorded(task))
    assert wanted.success
    assert found.success
    for key, values in wanted.frames.items():
        assert np.allclose(found.frames[key], values, atol=1e-9), key
    assert np.array_equal(found.phases, wanted.phases)
    assert np.allclose(found.states, wanted.states)
    assert np.allclose(found.controls, wanted.controls)
    assert set(found.world) == set(wanted.world)
    for path, values in wanted.world.items():
        assert np.allclose(found.world[path], values, atol=1e-6), path


def test_success_over_time_is_judged():
    """The sentence asks for a while; a moment of it is not enough."""
    task = make_task("quadruped/sit_down")
    home = task.home_state()
    episode = Episode(
        task=task.name,
        task_config={},
        instruction=task.instruction,
        control_dt_s=task.control_dt_s,
        states=np.tile(home, (6, 1)),
        controls=np.zeros((6, task.model.nu)),
        actions=np.zeros((5, task.action_size)),
        parameters={name: value[0] for name, value in task.start(np.random.default_rng(0), 1).parameters.items()},
    )
    task.success = lambda world: np.ones(world.batch_shape, dtype=bool)
    assert not planned(task, episode).success
    long = dataclasses.replace(
        episode,
        states=np.tile(home, (201, 1)),
        controls=np.zeros((201, task.model.nu)),
        actions=np.zeros((200, task.action_size)),
    )
    assert planned(task, long).success


def test_an_episode_of_another_task_is_refused():
    with pytest.raises(ConfigError, match="cannot demonstrate 'close_drawer'"):
        planned(make_task("close_drawer"), recorded(make_task("open_drawer")))
