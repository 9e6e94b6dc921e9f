"""The `VecEnv` that SB3 learns in: its contract, its numbers, and what it does with a bad reward."""

from __future__ import annotations

import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecEnv, is_vecenv_wrapped
from tiny import bound, make_env, random_actions

from embodied.core.errors import RewardCodeError
from embodied.rl.vec_env import EpisodeStatistics

NEAR = """
def reward(world, action):
    distance = np.linalg.norm(world.goal.position - world.gripper.position, axis=-1)
    return {"near": 1.0 - distance, "effort": -0.1 * np.sum(action**2, axis=-1)}
"""


def play(env, steps, seed=0):
    env.reset()
    rows = []
    for action in random_actions(steps, env.num_envs, env.action_space.shape[0], seed):
        rows.append(env.step(action))
    return rows


@pytest.mark.parametrize("task", ["reach", "hopper"])
def test_contract_of_sb3(task):
    env = make_env(3, task=task)
    assert isinstance(env, VecEnv)
    assert not is_vecenv_wrapped(env, object)
    assert env.get_attr("render_mode") == [None] * 3
    observation = env.reset()
    for _ in range(70):
        action = np.stack([env.action_space.sample() for _ in range(3)])
        assert observation.dtype == np.float32
        assert observation.shape == (3, *env.observation_space.shape)
        assert all(env.observation_space.contains(row) for row in observation)
        observation, reward, ended, infos = env.step(action)
        assert reward.dtype == np.float32
        assert reward.shape == ended.shape == (3,)
        assert ended.dtype == bool
        assert np.isfinite(observation).all()
        assert np.isfinite(reward).all()
        assert len(infos) == 3
        for row in range(3):
            assert ("terminal_observation" in infos[row]) == bool(ended[row])
    with pytest.raises(AttributeError, match="no per-environment"):
        env.env_method("foo")
    with pytest.raises(AttributeError, match="no per-environment"):
        env.set_attr("foo", 1)
    env.close()


def test_truncation_hands_over_the_last_observation():
    env = make_env(2, normalize_observations=False)
    rows = play(env, 60)
    for _, _, ended, infos in rows[:-1]:
        assert not ended.any()
        assert infos == [{}, {}]
    observation, _, ended, infos = rows[-1]
    assert ended.all()
    for row, info in enumerate(infos):
        assert info["TimeLimit.truncated"] is True
        assert info["terminal_observation"].dtype == np.float32
        assert not np.array_equal(info["terminal_observation"], observation[row])
    # The same episode in a batch that does not start anew shows what the terminal observation must be.
    alone = make_env(2, normalize_observations=False)
    alone.env.reset()
    for action in random_actions(60, 2, 6):
        step = alone.env.step(action, autoreset=False)
    np.testing.assert_array_equal(
        np.stack([info["terminal_observation"] for info in infos]), step.observation.astype(np.float32)
    )


def test_staggered_first_episodes_end_at_different_times_and_later_ones_are_whole():
    env = make_env(32, stagger_starts=True)
    ends = np.array([ended for _, _, ended, _ in play(env, 120)])
    first = ends.argmax(axis=0)
    assert len(set(first)) > 10
    assert first.max() < 60
    for row in range(32):
        np.testing.assert_array_equal(np.diff(np.flatnonzero(ends[:, row])), 60)


def test_a_fall_is_not_a_time_limit():
    env = make_env(8, task="hopper")
    endings = [
        info["TimeLimit.truncated"] for *_, ended, infos in play(env, 200) for info in np.array(infos)[ended]
    ]
    assert endings
    assert not any(endings)


def test_rewards_and_observations_are_scaled_like_vecnormalize():
    plain = make_env(4, reward=bound(NEAR), normalize_observations=False, normalize_rewards=False)
    scaled = make_env(4, reward=bound(NEAR))
    raw, normal = play(plain, 90), play(scaled, 90)
    returns, seen = np.zeros(4), []
    for (_, reward, ended, _), (_, found, _, _) in zip(raw, normal, strict=True):
        returns = returns * 0.97 + reward
        seen.append(returns.copy())
        returns[ended] = 0.0
        expected = np.clip(reward / np.std(np.concatenate(seen)), -10, 10)
        if len(seen) > 5:  # the first returns differ by the prior of 1e-4 samples
            np.testing.assert_allclose(found, expected, rtol=2e-3)
    observations = np.concatenate([row[0] for row in raw])
    assert scaled.observation_moments.mean == pytest.approx(observations.mean(axis=0), abs=0.05)


def test_statistics_freeze_where_asked():
    env = make_env(4, freeze_after=40)
    play(env, 10)
    frozen = env.observation_moments.get_state(), env.return_moments.get_state()
    for action in random_actions(30, 4, 6, seed=3):
        env.step(action)
    for before, after in zip(
        frozen, (env.observation_moments.get_state(), env.return_moments.get_state()), strict=True
    ):
        for key, value in before.items():
            np.testing.assert_array_equal(value, after[key])


@pytest.mark.parametrize("value", ["1.0", "-1.0"])
def test_success_is_the_tasks_own_predicate_whatever_the_reward_says(value, monkeypatch):
    env = make_env(4, reward=bound(f"def reward(world, action):\n    return {{'a': {value} + 0.0 * world.time}}\n"))
    for held in (False, True):
        monkeypatch.setattr(env.env.task, "success", lambda world, held=held: np.full(world.batch_shape, held))
        play(env, 60)
        row = env.statistics.take()
        assert (row["success"], row["success_at_end"]) == (float(held), float(held))
        assert row["return"] == pytest.approx(60 * float(value))


def test_episode_statistics():
    found = EpisodeStatistics(2)
    ended, running = np.array([True, False]), np.array([False, False])
    found.add(np.array([1.0, 2.0]), {"a": np.array([1.0, 3.0])}, np.array([True, False]), running)
    found.add(np.array([1.0, 2.0]), {"a": np.array([3.0, 5.0])}, np.array([False, False]), ended)
    row = found.take()
    assert row == {
        "terms": {"a": 3.0}, "return": 2.0, "length": 2.0, "success": 1.0, "success_at_end": 0.0, "episodes": 1,
    }  # fmt: skip
    assert found.take() == {"terms": {}}
    found.add(np.array([5.0, 1.0]), {}, np.array([False, True]), np.array([True, True]))
    row = found.take()
    assert (row["return"], row["length"], row["success"], row["episodes"]) == (5.0, 2.0, 0.5, 2)


@pytest.mark.parametrize(
    "term",
    ["np.mean(world.gripper.position[..., 2]) + 0.0 * world.time", "world.gripper.position[..., 2] / np.max(action)"],
)
def test_a_program_that_mixes_the_batch_is_caught_in_training(term):
    env = make_env(8, reward=bound(f"def reward(world, action):\n    return {{'a': {term}}}\n"))
    with pytest.raises(RewardCodeError, match=r"not consistent over the batch: environment \d gives"):
        play(env, 1)


def test_the_recheck_comes_back_and_visits_other_rows():
    # Consistent at first, mixed over the batch once episodes are old: only a later re-check can see it.
    source = (
        "def reward(world, action):\n"
        "    late = np.mean(world.time) > 1.9\n"
        "    return {'a': world.gripper.position[..., 2] + late * np.mean(world.goal.position)}\n"
    )
    env = make_env(2, reward=bound(source))
    play(env, 200)  # step 200 is re-checked at 20 of 60 steps of an episode: too early to show
    env.reset()
    for action in random_actions(39, 2, 6):
        env.step(action)
    env._steps = 200 * 2
    with pytest.raises(RewardCodeError, match="environment 1 gives"):
        env.step(random_actions(1, 2, 6)[0])


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return {'a': np.where(bad, np.nan, 0.0)}", "term 'a' is not finite"),
        ("return {'a': np.where(bad, np.inf, 0.0)}", "term 'a' is not finite"),
        ("return {'a': np.where(bad, 1e9, 0.0)}", "the limit is"),
        ("return {'a': [0.0, 1.0][int(np.max(bad) * 7)] + 0.0 * world.time}", "IndexError"),
    ],
)
def test_a_bad_reward_names_environment_and_time(body, why):
    source = f"def reward(world, action):\n    bad = (action[..., 0] > 0.9) & (world.time > 0.12)\n    {body}\n"
    env = make_env(4, reward=bound(source))
    env.reset()
    quiet, loud = np.zeros((4, 6), np.float32), np.zeros((4, 6), np.float32)
    loud[2, 0] = 1.0
    for _ in range(2):
        env.step(quiet)
    with pytest.raises(RewardCodeError, match=why) as caught:
        env.step(loud)
    assert "in environment 2, at time 0.15 s" in str(caught.value)
    assert caught.value.env == 2
    assert env.last_step.world.time[2] == pytest.approx(0.15)
    assert np.isfinite(env.observation_moments.mean).all()


def test_a_fault_of_the_batch_alone_names_no_environment():
    source = "def reward(world, action):\n    return {'a': np.zeros(5) if len(action) > 1 else 0.0}\n"
    env = make_env(4, reward=bound(source))
    with pytest.raises(RewardCodeError, match="must have the batch's shape") as caught:
        play(env, 1)
    assert "in environment" not in str(caught.value)


def test_a_program_that_runs_row_by_row_gives_the_same_numbers():
    batched = play(make_env(4, reward=bound(NEAR)), 20)
    rows = play(make_env(4, reward=bound(NEAR, batched=False)), 20)
    for one, other in zip(batched, rows, strict=True):
        np.testing.assert_allclose(one[1], other[1], rtol=1e-6)
