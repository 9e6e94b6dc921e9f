"""The training worker: what it reports, what it leaves when stopped, and what it does when training goes wrong."""

from __future__ import annotations

import errno

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny import PPO, make_env, of_kind, request, train_in_child

from embodied.core.errors import ConfigError, UnknownNameError
from embodied.core.reward import RewardProgram
from embodied.rl.algorithms import make_algorithm
from embodied.rl.policy import MLPPolicy
from embodied.rl.snapshot import newest_snapshot
from embodied.rl.trainer import _vec_env

LATE_NAN = """
def reward(world, action):
    bad = (world.goal.position[..., 1] > 0.0) & (world.time > 1.02)
    return {"fine": -np.abs(world.goal.position[..., 0]), "late": np.where(bad, np.nan, 1.0)}
"""


def program(source):
    return RewardProgram(source, "person", "reach", evaluation="batched").to_json()


def test_a_training_reports_and_ends(tmp_path):
    messages = train_in_child(request(tmp_path))
    assert [m["step"] for m in of_kind(messages, "policy")] == [256, 512, 768]
    assert [m["step"] for m in of_kind(messages, "checkpoint")] == list(range(128, 1024, 128))
    progress = of_kind(messages, "progress")
    assert [m["step"] for m in progress] == list(range(256, 1024, 256))
    assert set(progress[0]["terms"]) == {"near", "at_goal", "effort"}
    (done,) = of_kind(messages, "done")
    assert done["step"] == 1024
    assert len(list((tmp_path / "snapshots").iterdir())) == 2
    for message in of_kind(messages, "policy"):
        assert MLPPolicy.load(tmp_path / message["path"]).task == "reach"


def test_what_is_asked_of_the_environments_is_what_they_are(tmp_path):
    noise = {"_target_": "embodied.sim.randomization.Randomization", "mass_factor": 1.5, "max_delay_steps": 2}
    for randomization, differ in ((None, False), (noise, True)):
        env = _vec_env(request(tmp_path, randomization=randomization, n_envs=6, freeze_after=77))
        env.reset()
        masses = np.array([env.env.engine.model_of(row).body_mass for row in range(6)])
        assert np.ptp(masses, axis=0).any() == differ
        assert (env.env.get_state()["arrays"]["delay"].max() > 0) == differ
        assert len(set(env.env.get_state()["arrays"]["elapsed"])) > 1, "episodes that all end together"
        assert (env.num_envs, env.freeze_after, env.gamma) == (6, 77, PPO["gamma"])
        env.close()


SELDOM = {"checkpoint_every_steps": 10**6, "policy_every_steps": 200}


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """Messages of the uninterrupted trainings."""
    folder = tmp_path_factory.mktemp("wholes")
    return {name: train_in_child(request(folder / name, name, **SELDOM)) for name in ("ppo", "sac")}


@pytest.mark.parametrize(("algorithm", "boundaries"), [("ppo", 1), ("ppo", 2), ("ppo", 6), ("sac", 1), ("sac", 33)])
def test_stopped_and_resumed_equals_uninterrupted(algorithm, boundaries, wholes, tmp_path):
    """Weights, and the exported candidates too: their steps depend on the step count alone."""
    whole = wholes[algorithm]
    told = request(tmp_path / "parts", algorithm, **SELDOM)
    first = train_in_child(told, stop_after=boundaries)
    assert of_kind(first, "stopped")
    assert not of_kind(first, "done")
    second = train_in_child(told)
    assert of_kind(second, "resumed")[0]["step"] == of_kind(first, "stopped")[0]["step"]
    (one,), (other,) = of_kind(whole, "done"), of_kind(second, "done")
    assert one == other
    candidates = [(m["step"], m["sha256"]) for m in of_kind(first, "policy") + of_kind(second, "policy")]
    assert candidates == [(m["step"], m["sha256"]) for m in of_kind(whole, "policy")]


def test_two_rounds_then_four(tmp_path):
    whole = train_in_child(request(tmp_path / "whole", total_steps=4 * 128))
    train_in_child(request(tmp_path / "parts", total_steps=4 * 128), stop_after=2)
    assert newest_snapshot(tmp_path / "parts" / "snapshots").name == "step_0000000256"
    second = train_in_child(request(tmp_path / "parts", total_steps=4 * 128))
    assert of_kind(second, "done") == of_kind(whole, "done")


def test_a_finished_training_run_again_changes_nothing(tmp_path):
    told = request(tmp_path, total_steps=512)
    assert of_kind(train_in_child(told), "done") == of_kind(train_in_child(told), "done")


def test_a_late_nan_stops_with_step_environment_and_states(tmp_path):
    messages = train_in_child(request(tmp_path, program=program(LATE_NAN)))
    (fault,) = of_kind(messages, "fault")
    assert fault["error"] == "RewardCodeError"
    assert "term 'late' is not finite" in fault["message"]
    assert f"in environment {fault['env']}, at time 1.05 s" in fault["message"]
    assert 0 < fault["step"] < 8 * 60
    with np.load(tmp_path / fault["states"], allow_pickle=False) as states:
        assert states["states"].shape[0] == states["action"].shape[0] == 8
        assert states["world/goal.position"][fault["env"], 1] > 0
        assert (states["world/goal.position"][: fault["env"], 1] <= 0).all()
        assert states["world/time"][fault["env"]] == pytest.approx(1.05)
    tensors = load_file(newest_snapshot(tmp_path / "snapshots") / "weights.safetensors")
    assert all(np.isfinite(t).all() for t in tensors.values() if t.dtype.kind == "f")
    assert not of_kind(messages, "done")


def test_a_reward_that_raises_late_names_its_line(tmp_path):
    late = "0.0 * world.time + k[int(np.max(world.time) * 20 + 0.5)]"
    source = f"def reward(world, action):\n    k = [0.0] * 21\n    return {{'a': {late}}}\n"
    messages = train_in_child(request(tmp_path, program=program(source)))
    (fault,) = of_kind(messages, "fault")
    assert (fault["line"], fault["step"]) == (3, 20 * 8)
    assert "IndexError" in fault["message"]


def test_a_diverging_learner_is_stopped_before_it_is_saved(tmp_path):
    settings = {**PPO, "learning_rate": 1e30, "max_grad_norm": 1e30}
    messages = train_in_child(request(tmp_path, settings=settings))
    (fault,) = of_kind(messages, "fault")
    assert fault["error"] == "DivergenceError"
    assert "learning_rate" in fault["message"]
    assert not of_kind(messages, "done")
    for folder in [*(tmp_path / "snapshots").glob("step_*"), *(tmp_path / "policies").glob("*")]:
        for path in folder.glob("*.safetensors"):
            assert all(np.isfinite(t).all() for t in load_file(path).values() if t.dtype.kind == "f")


def spoil(env, step):
    if step == 30:
        env.env.engine.states[5, 3] = np.nan


def test_a_diverging_simulation_names_environment_and_step(tmp_path):
    messages = train_in_child(request(tmp_path), poison=spoil)
    (fault,) = of_kind(messages, "fault")
    assert (fault["error"], fault["env"]) == ("DivergenceError", 5)
    assert "environment 5" in fault["message"]
    assert "control step 31" in fault["message"]
    with np.load(tmp_path / fault["states"], allow_pickle=False) as states:
        assert np.isnan(states["states"][5]).any()


def test_a_file_that_cannot_be_written_is_a_fault_with_its_number(tmp_path):
    messages = train_in_child(request(tmp_path, settings={**PPO, "net_arch": [64, 64]}), max_file_bytes=30_000)
    (fault,) = of_kind(messages, "fault")
    assert (fault["error"], fault["errno"]) == ("OSError", errno.EFBIG)
    assert newest_snapshot(tmp_path / "snapshots") is None


def test_a_snapshot_of_another_configuration_is_a_fault(tmp_path):
    train_in_child(request(tmp_path), stop_after=2)
    messages = train_in_child(request(tmp_path, n_envs=4))
    (fault,) = of_kind(messages, "fault")
    assert fault["error"] == "CheckpointError"
    assert "does not fit this configuration" in fault["message"]


@pytest.mark.parametrize(
    ("name", "settings", "error", "why"),
    [
        ("dqn", {}, UnknownNameError, "unknown trainer 'dqn'"),
        ("ppo", {"n_stepz": 3}, ConfigError, "n_stepz"),
        ("ppo", {"activation": "gelu"}, UnknownNameError, "activation"),
        ("ppo", {"batch_size": 1}, ConfigError, "trainer=ppo"),
        ("sac", {"ent_coef": "none"}, ConfigError, "trainer=sac"),
    ],
)
def test_wrong_settings_are_named(name, settings, error, why):
    with pytest.raises(error, match=why):
        make_algorithm(name, settings, make_env(2), 0)
