"""Our locomotion robots against Gymnasium's own v5 environments, step by step."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import yaml

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.sim.batch_env import BatchEnv

EXACT = {"hopper": "Hopper-v5", "half_cheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5"}
NO_FORCES = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}
NO_INERTIA = {
    "include_cinert_in_observation": False,
    "include_cvel_in_observation": False,
    "include_qfrc_actuator_in_observation": False,
}
SWITCHED = {"ant": ("Ant-v5", NO_FORCES), "humanoid": ("Humanoid-v5", {**NO_FORCES, **NO_INERTIA})}


class Pair:
    """Gymnasium's environment and ours, in the same state."""

    def __init__(self, name: str, gym_id: str, **switches) -> None:
        self.task = build(yaml.safe_load((conf_dir() / "task" / f"{name}.yaml").read_text()))
        self.theirs = gymnasium.make(gym_id, **switches).unwrapped
        self.ours = BatchEnv(self.task, n_envs=1, seed=0)
        self.ours.reset()
        self.reward = self.task.expert_reward().bind(reviewed=True)
        self.rng = np.random.default_rng(0)
        self.scale = self.task.model.actuator_ctrlrange[:, 1]  # Gymnasium's space is float32, 0.4 is not in it
        self.reset(0)

    def reset(self, seed: int) -> None:
        self.theirs.reset(seed=seed)
        self.synchronise()

    def synchronise(self) -> None:
        """Puts our environment into the state of Gymnasium's, as a snapshot would."""
        data = self.theirs.data
        state = self.ours.get_state()
        full = np.concatenate([[data.time], data.qpos, data.qvel])[None]
        sensors = self.ours.engine.read(full, [0])
        state["arrays"] |= {"states": full, "now/states": full, "now/sensors": sensors}
        self.ours.set_state(state)

    def step(self):
        """Differences of observation and reward, and the two verdicts."""
        action = self.rng.uniform(-1, 1, self.task.action_size)
        observation, reward, terminated, _, info = self.theirs.step(action * self.scale)
        step = self.ours.step(action[None], autoreset=False)
        total, terms = self.reward(step.world, step.action)
        return (
            np.abs(step.final_observation[0] - observation).max(),
            total[0] - reward,
            terminated,
            bool(step.terminated[0]),
            terms,
            info,
        )


@pytest.mark.parametrize("name", EXACT)
def test_every_step_from_the_same_state_is_gymnasiums(name):
    pair = Pair(name, EXACT[name])
    episodes = 1
    for _ in range(1000):
        pair.synchronise()
        observation, reward, theirs, ours, _, _ = pair.step()
        assert observation < 1e-12
        assert abs(reward) < 1e-12
        assert theirs == ours
        if theirs:
            pair.reset(episodes)
            episodes += 1
    assert name == "half_cheetah" or episodes > 10


@pytest.mark.parametrize("name", ["hopper", "walker2d"])
def test_whole_episodes_are_gymnasiums(name):
    pair = Pair(name, EXACT[name])
    for episode in range(20):
        pair.reset(episode)
        ended = False
        while not ended:
            observation, reward, ended, ours, _, _ = pair.step()
            assert observation < 1e-6
            assert abs(reward) < 1e-6
            assert ended == ours


def test_half_cheetah_runs_free_for_forty_steps():
    # It is chaotic: a difference in the last digit grows to 1e-6 after some 45 steps.
    for seed in range(5):
        pair = Pair("half_cheetah", EXACT["half_cheetah"])
        pair.reset(seed)
        for _ in range(40):
            observation, reward, *_ = pair.step()
            assert observation < 1e-6
            assert abs(reward) < 1e-6


@pytest.mark.parametrize("name", SWITCHED)
def test_ant_and_humanoid_differ_in_the_forward_term_alone(name):
    gym_id, switches = SWITCHED[name]
    pair = Pair(name, gym_id, **switches)
    drift, forward = [], []
    for i in range(300):
        pair.synchronise()
        observation, reward, theirs, ours, terms, info = pair.step()
        # Humanoid's solver is cut off at 50 iterations, so a step depends on its warm start, which is no state.
        assert observation < (1e-10 if name == "ant" else 1e-4)
        assert theirs == ours
        drift.append(terms["forward"][0] - info["reward_forward"])
        forward.append(info["reward_forward"])
        np.testing.assert_allclose(reward, drift[-1], atol=1e-9)
        if theirs:
            pair.reset(i)
    # A shift by one physics substep: no bias, nearly the same signal.
    assert abs(np.mean(drift)) < 0.01
    assert np.corrcoef(np.array(forward) + drift, forward)[0, 1] > 0.99


@pytest.mark.parametrize("name", [*EXACT, *SWITCHED])
def test_starts_are_drawn_from_gymnasiums_distribution(name):
    gym_id, switches = (EXACT[name], {}) if name in EXACT else SWITCHED[name]
    pair = Pair(name, gym_id, **switches)
    theirs = []
    for seed in range(300):
        pair.theirs.reset(seed=seed)
        theirs.append(np.concatenate([pair.theirs.data.qpos, pair.theirs.data.qvel]))
    ours = pair.task.start(np.random.default_rng(0), 300).states[:, 1:]
    noise = pair.task.reset_noise
    # Standard errors of 300 draws; 6 of them over some 50 columns.
    np.testing.assert_allclose(ours.mean(0), np.mean(theirs, 0), atol=6 * noise * np.sqrt(2 / 300))
    np.testing.assert_allclose(ours.std(0), np.std(theirs, 0), atol=6 * noise / np.sqrt(300))
