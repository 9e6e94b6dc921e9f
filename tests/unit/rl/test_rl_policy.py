"""A saved actor: bit for bit what SB3 would do, and refused when anything about the file is wrong."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from tiny import make_env, make_learner, random_actions

from embodied.core.errors import CheckpointError
from embodied.core.files import sha256
from embodied.core.policy import STATE_KEY, Policy
from embodied.rl.algorithms import actor
from embodied.rl.policy import MLPPolicy


@pytest.fixture(scope="module", params=["ppo", "sac"])
def trained(request):
    env = make_env(4)
    learner = make_learner(request.param, env)
    learner.learn(256)
    return learner, env


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    env = make_env(2)
    folder = tmp_path_factory.mktemp("policy")
    actor(make_learner("ppo", env), env).save(folder)
    return folder


def test_equals_sb3_deterministic_prediction(trained):
    learner, env = trained
    policy = actor(learner, env)
    batch = env.env
    batch.reset()
    for action in random_actions(25, 4, 6):
        raw = batch.step(action).observation
        expected, _ = learner.predict(env._normalized(raw, update=False), deterministic=True)
        np.testing.assert_allclose(policy.actions(raw), expected, atol=1e-5)
    assert np.abs(policy.actions(raw)).max() > 0
    far = raw + 1e3 * np.random.default_rng(0).normal(size=raw.shape)  # what training never saw is clipped alike
    expected, _ = learner.predict(env._normalized(far, update=False), deterministic=True)
    np.testing.assert_allclose(policy.actions(far), expected, atol=1e-5)


def test_round_trip_is_bit_equal(trained, tmp_path):
    learner, env = trained
    policy = actor(learner, env)
    digest = policy.save(tmp_path)
    assert digest == sha256(tmp_path / "policy.safetensors")
    loaded = MLPPolicy.load(tmp_path)
    for (w, b), (v, c) in zip(policy.layers, loaded.layers, strict=True):
        np.testing.assert_array_equal(w, v)
        np.testing.assert_array_equal(b, c)
    raw = np.random.default_rng(0).normal(size=(64, len(policy.mean)))
    np.testing.assert_array_equal(policy.actions(raw), loaded.actions(raw))
    assert (loaded.observation, loaded.task, loaded.squash) == (policy.observation, "reach", policy.squash)
    assert policy.save(tmp_path / "again") == digest


def test_training_on_does_not_change_an_exported_actor(trained):
    learner, env = trained
    policy = actor(learner, env)
    before = [w.copy() for w, _ in policy.layers], policy.mean.copy()
    learner.learn(128, reset_num_timesteps=False)
    np.testing.assert_array_equal(policy.mean, before[1])
    for (w, _), old in zip(policy.layers, before[0], strict=True):
        np.testing.assert_array_equal(w, old)


def test_is_a_policy_of_one_action_chunk(trained):
    learner, env = trained
    policy = actor(learner, env)
    assert isinstance(policy, Policy)
    policy.reset("anything")
    policy.instruct("anything")
    observation = {STATE_KEY: np.zeros(policy.features[STATE_KEY])}
    chunk = policy.act(observation)
    assert chunk.shape == (1, 6)
    np.testing.assert_array_equal(chunk, policy.actions(observation[STATE_KEY][None]))
    assert np.abs(policy.actions(1e9 * np.ones((1, len(policy.mean))))).max() <= 1.0


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(bytes(data))


def rewritten(folder, **changes):
    """The manifest with changed keys and a right hash: what only an attacker or another version writes."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"sha256": sha256(folder / "policy.safetensors"), **changes}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["policy.safetensors", "manifest.json"])
@pytest.mark.parametrize("harm", ["missing", "empty", "truncated", "flipped", "binary", "folder"])
def test_a_damaged_file_is_refused(saved, tmp_path, name, harm):
    folder = tmp_path / "policy"
    shutil.copytree(saved, folder)
    path = folder / name
    data = path.read_bytes()
    if harm in ("missing", "folder"):
        path.unlink()
    if harm == "folder":
        path.mkdir()
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "flipped":
        flip(path, 20)  # in the manifest: inside the value of `format`
    elif harm == "binary":
        path.write_bytes(b"PK\x03\x04\x80\x02" + data)
    with pytest.raises(CheckpointError, match=r"policy"):
        MLPPolicy.load(folder)


def test_no_folder_at_all():
    with pytest.raises(CheckpointError, match="no policy in"):
        MLPPolicy.load("/nowhere/at/all")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": "embodied.mlp_policy/99"}, "reads embodied.mlp_policy/1"),
        ({"format": None}, "is of format None"),
        ({"activation": "softsign"}, "softsign"),
        ({"squash": "yes"}, "squash"),
        ({"observation": None}, "does not hold a policy"),
        ({"task": None, "sha256": None}, "altered or truncated"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(saved, tmp_path, changes, why):
    folder = tmp_path / "policy"
    shutil.copytree(saved, folder)
    rewritten(folder, **changes)
    with pytest.raises(CheckpointError, match=why):
        MLPPolicy.load(folder)


@pytest.mark.parametrize("text", ["[]", '"x"', "3", "null", "{}"])
def test_a_manifest_that_is_no_manifest(saved, tmp_path, text):
    folder = tmp_path / "policy"
    shutil.copytree(saved, folder)
    (folder / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError):
        MLPPolicy.load(folder)


@pytest.mark.parametrize("harm", ["not tensors", "a layer is missing", "wrong shape", "nan"])
def test_right_hash_and_wrong_content(saved, tmp_path, harm):
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "policy"
    shutil.copytree(saved, folder)
    path = folder / "policy.safetensors"
    if harm == "not tensors":
        path.write_bytes(b"\x80\x04\x95" * 40)
    else:
        tensors = load_file(path)
        if harm == "a layer is missing":
            del tensors["layer_0.weight"]
        elif harm == "wrong shape":
            tensors["mean"] = tensors["mean"][:-1].copy()
        else:
            tensors["layer_1.bias"] = np.full_like(tensors["layer_1.bias"], np.nan)
        save_file(tensors, path)
    rewritten(folder)
    with pytest.raises(CheckpointError, match="does not hold a policy"):
        MLPPolicy.load(folder)
