"""Snapshots: a resumed training is the uninterrupted one, bit by bit; a damaged snapshot is never half-loaded."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from tiny import make_env, make_learner, until

from embodied.core.errors import CheckpointError
from embodied.rl.snapshot import load_snapshot, newest_snapshot, save_snapshot, weights_sha256

TOTAL = {"ppo": 6 * 64, "sac": 160}


class Saver(BaseCallback):
    """Writes a snapshot at every rollout boundary at or after one of the given steps."""

    def __init__(self, folder, env, steps):
        super().__init__()
        self.folder, self.env, self.steps = folder, env, sorted(steps)

    def _on_rollout_start(self):
        if self.steps and self.num_timesteps >= self.steps[0]:
            self.steps.pop(0)
            save_snapshot(self.folder, self.model, self.env, keep=99)

    def _on_step(self):
        return True


def learner_of(name, **env_arguments):
    env = make_env(4, freeze_after=60 if name == "sac" else None, **env_arguments)
    return make_learner(name, env), env


def everything(learner, env):
    """What the future depends on, as one comparable value."""
    state = env.get_state()
    arrays = {k: np.array(v) for k, v in state["arrays"].items()}
    if hasattr(learner, "replay_buffer") and learner.replay_buffer is not None:
        arrays["replay"] = learner.replay_buffer.observations.copy()
        arrays["replay_rewards"] = learner.replay_buffer.rewards.copy()
    return {
        "weights": weights_sha256(learner),
        "rng": state["rng"],
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": np.random.get_state()[1].tobytes(),
        "arrays": {k: (v.shape, v.tobytes()) for k, v in arrays.items()},
    }


@pytest.mark.parametrize("randomized", [False, True], ids=["plain", "randomized"])
@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_resume_is_exact_at_every_boundary(name, randomized, tmp_path):
    total = TOTAL[name]
    learner, env = learner_of(name, randomized=randomized)
    learner.learn(total, callback=Saver(tmp_path, env, [0, total // 6, total // 2, total - 8]))
    expected = everything(learner, env)
    snapshots = sorted(tmp_path.glob("step_*"))
    assert len(snapshots) >= 3
    for path in snapshots:
        learner, env = learner_of(name, randomized=randomized)
        # Another life before it: nothing of it may remain.
        random.seed(99), np.random.seed(99), torch.manual_seed(99)
        load_snapshot(path, learner, env)
        assert learner.num_timesteps == int(path.name.partition("_")[2])
        learner.learn(total - learner.num_timesteps, reset_num_timesteps=False)
        found = everything(learner, env)
        assert found["weights"] == expected["weights"], path.name
        assert found == expected, path.name


def test_snapshots_are_not_empty_of_state(tmp_path):
    """The equality above would also hold if nothing were random: show that training without a snapshot differs."""
    learner, env = learner_of("ppo")
    learner.learn(128)
    path = save_snapshot(tmp_path, learner, env)
    learner.learn(128, reset_num_timesteps=False)
    other, other_env = learner_of("ppo")
    other.policy.load_state_dict({k: v.clone() for k, v in other.policy.state_dict().items()})
    load_snapshot(path, other, other_env)
    np.random.seed(5), torch.manual_seed(5)
    other.learn(128, reset_num_timesteps=False)
    assert weights_sha256(other) != weights_sha256(learner)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with two snapshots, at 64 and at 128 steps."""
    folder = tmp_path_factory.mktemp("snapshots")
    learner, env = learner_of("ppo")
    learner.learn(64)
    save_snapshot(folder, learner, env)
    learner.learn(64, reset_num_timesteps=False)
    save_snapshot(folder, learner, env)
    return folder


@pytest.fixture
def pair(written, tmp_path):
    folder = tmp_path / "snapshots"
    shutil.copytree(written, folder)
    return folder, *sorted(folder.glob("step_*"))


FILES = ["weights.safetensors", "arrays.npz", "state.json", "manifest.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["missing", "empty", "truncated", "flipped"])
def test_a_damaged_newest_snapshot_gives_way_to_the_one_before(pair, name, harm):
    folder, older, newer = pair
    assert newest_snapshot(folder) == newer
    path = newer / name
    data = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        middle = len(data) // 2
        harmed = {"empty": b"", "truncated": data[:middle], "flipped": data[:middle] + b"\xee" + data[middle + 1 :]}
        path.write_bytes(harmed[harm])
    assert newest_snapshot(folder) == older
    learner, env = learner_of("ppo")
    before = weights_sha256(learner)
    with pytest.raises(CheckpointError, match="incomplete or altered"):
        load_snapshot(newer, learner, env)
    assert weights_sha256(learner) == before
    load_snapshot(older, learner, env)
    assert learner.num_timesteps == 64


@pytest.mark.parametrize("files", [{}, {"state.json": "0"}, [], None])
def test_a_manifest_that_vouches_for_too_little(pair, files):
    folder, older, newer = pair
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps({**manifest, "files": files}))
    assert newest_snapshot(folder) == older


def test_another_version_is_not_taken(pair):
    folder, older, newer = pair
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps({**manifest, "format": "embodied.snapshot/2"}))
    assert newest_snapshot(folder) == older


def test_nothing_there(tmp_path):
    assert newest_snapshot(tmp_path) is None
    assert newest_snapshot(tmp_path / "absent") is None


def test_only_the_newest_are_kept_and_no_rests_of_a_killed_writer(pair, tmp_path):
    folder, older, newer = pair
    rest = folder / ".step_0000000100.tmp"
    rest.mkdir()
    (rest / "weights.safetensors").write_bytes(b"half")
    learner, env = learner_of("ppo")
    load_snapshot(newer, learner, env)
    learner.learn(64, reset_num_timesteps=False)
    third = save_snapshot(folder, learner, env)
    assert sorted(folder.iterdir()) == [newer, third]
    assert not older.exists()


@pytest.mark.parametrize(
    "other",
    [
        lambda: learner_of("sac"),
        lambda: (make_learner("ppo", env := make_env(4), net_arch=[9]), env),
        lambda: (make_learner("ppo", env := make_env(4), net_arch=[8, 8]), env),
        lambda: (make_learner("ppo", env := make_env(5)), env),
        lambda: (make_learner("ppo", env := make_env(4, task="push_cube")), env),
        lambda: learner_of("ppo", randomized=True),
    ],
    ids=["algorithm", "width", "depth", "environments", "task", "randomization"],
)
def test_a_snapshot_of_another_configuration_is_refused(written, other):
    learner, env = other()
    with pytest.raises(CheckpointError, match="does not fit this configuration"):
        load_snapshot(newest_snapshot(written), learner, env)


def test_nothing_is_pickled(written):
    newest = newest_snapshot(written)
    assert sorted(p.name for p in newest.iterdir()) == sorted(FILES)
    with np.load(newest / "arrays.npz", allow_pickle=False) as archive:
        assert all(archive[name].dtype.kind in "biufU" for name in archive.files)


def _write_until_killed(folder, learner, env):
    learner.num_timesteps = 1000
    while True:  # each under its own name, so that every one is new
        save_snapshot(folder, learner, env)
        learner.num_timesteps += 1


def _files_of_a_write(folder) -> int:
    """Files in the temporary folder of the write under way; -1 without one (it may be renamed any time)."""
    try:
        return max((len(os.listdir(t)) for t in folder.glob(".step_*.tmp")), default=-1)
    except FileNotFoundError:
        return -1


def test_killed_in_the_middle_of_writing(tmp_path):
    learner, env = learner_of("ppo")
    learner.learn(64)
    save_snapshot(tmp_path, learner, env)
    expected, rng = weights_sha256(learner), random.Random(0)
    partial = 0
    for _ in range(12):
        child = multiprocessing.get_context("fork").Process(target=_write_until_killed, args=(tmp_path, learner, env))
        child.start()
        # A random moment inside a write: wait for a fresh temporary folder, then for a random file of it.
        count = rng.randint(0, 4)
        until(lambda n=count: _files_of_a_write(tmp_path) >= n, "a write")
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        partial += bool(list(tmp_path.glob(".step_*.tmp")))
        found = newest_snapshot(tmp_path)
        assert found is not None
        again, again_env = learner_of("ppo")
        load_snapshot(found, again, again_env)
        assert weights_sha256(again) == expected
    assert partial >= 3, "the kills missed all writes: the test shows nothing"
