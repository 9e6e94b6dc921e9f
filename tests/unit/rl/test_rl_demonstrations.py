"""Recorded episodes in SAC's replay buffer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny import SETTINGS, make_env

from embodied.core.errors import CheckpointError, ConfigError
from embodied.data.episode import Edit, Episode
from embodied.rl.algorithms import make_algorithm
from embodied.rl.demonstrations import episode_worlds, fill_buffer, load_demonstrations
from embodied.rl.writing import make_task
from embodied.sim.batch_env import BatchEnv


@pytest.fixture(scope="module")
def played():
    """An episode as it was played, with the worlds and rewards that the environment itself gave."""
    task = make_task("push_cube")
    env = BatchEnv(task, n_envs=1, seed=3)
    env.reset()
    reward, rng = task.expert_reward().bind(reviewed=True), np.random.default_rng(0)
    starts, actions, worlds, totals = [env.start_of(0)], [], [], []
    for _ in range(21):
        step = env.step(rng.uniform(-1.2, 1.2, (1, task.action_size)), autoreset=False)
        starts.append(env.start_of(0))
        actions.append(step.action[0])
        worlds.append(step.world)
        totals.append(reward(step.world, step.action)[0][0])
    episode = Episode(
        task.name, {}, task.instruction, task.control_dt_s, np.concatenate([s.states for s in starts]),
        np.concatenate([s.control for s in starts]), np.array(actions),
        {name: value[0] for name, value in starts[-1].parameters.items()}, (), float(env.t0[0]),
    )  # fmt: skip
    return task, episode, worlds, np.array(totals)


def test_recorded_worlds_are_those_that_were_played(played):
    task, episode, worlds, _ = played
    again = episode_worlds(episode, task)
    for name in task.schema.quantities:
        expected = np.concatenate([world.quantity(name) for world in worlds])
        np.testing.assert_allclose(again.quantity(name), expected, atol=1e-9, err_msg=name)


def test_the_buffer_holds_what_the_learner_would_have_seen(played):
    _, episode, _, totals = played
    env = make_env(4, task="push_cube", normalize_rewards=False)
    env.reset()
    algorithm = make_algorithm("sac", SETTINGS["sac"], env, 0)
    assert fill_buffer(algorithm, env, [episode]) == 20
    buffer = algorithm.replay_buffer
    assert buffer.pos == 5
    np.testing.assert_allclose(buffer.rewards[:5].ravel(), totals[:20], rtol=1e-5)
    np.testing.assert_allclose(buffer.actions[:5].reshape(20, -1), episode.actions[:20], atol=1e-6)
    np.testing.assert_array_equal(buffer.observations[0, 1], buffer.next_observations[0, 0])
    assert np.abs(buffer.observations[:5]).max() < 10.5
    assert not buffer.dones[:5].any()


def test_what_does_not_fit_is_refused_before_training(played, tmp_path):
    task, episode, _, _ = played
    episode.save(tmp_path / "good")
    assert len(load_demonstrations([tmp_path / "good"], task)) == 1
    with pytest.raises(ConfigError, match="is of 'push_cube', not of 'reach'"):
        load_demonstrations([tmp_path / "good"], make_task("reach"))
    replace(episode, edits=(Edit("body_mass", 1, np.ones((1,))),)).save(tmp_path / "edited")
    with pytest.raises(ConfigError, match="randomised models"):
        load_demonstrations([tmp_path / "edited"], task)
    with pytest.raises(CheckpointError, match="no whole episode"):
        load_demonstrations([tmp_path / "nothing"], task)


def test_ppo_has_no_place_for_them(played):
    env = make_env(4, task="push_cube")
    with pytest.raises(ConfigError, match="trainer=sac"):
        fill_buffer(make_algorithm("ppo", SETTINGS["ppo"], env, 0), env, [played[1]])
