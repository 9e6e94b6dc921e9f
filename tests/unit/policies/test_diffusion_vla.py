"""DiffusionVLA: how the reasoning enters, what a checkpoint guarantees, exact resume."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import torch
from small_vla import BACKBONES, CAMERA, DIFFUSION, L1, architecture, make_fit, write_dataset

from embodied.core.errors import CheckpointError, ConfigError
from embodied.data.dataset import Dataset
from embodied.policies.checkpoint import load_parts, save_policy
from embodied.policies.fitting import FitSettings, shifted
from embodied.policies.normalization import Normalization
from embodied.policies.vla_policy import VLAPolicy


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("data") / "d")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def fitted(dataset, cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return make_fit(dataset, cache, steps=200, validation_share=0.0, lr=3e-3, shift_pixels=0, warmup_steps=5).run(
        folder
    )


def observation(way: int = 1, t: int = 5) -> dict:
    picture = np.full((32, 32, 3), 30, np.uint8)
    x = max(0, 14 + way * t)
    picture[12:18, x : x + 6] = (200, 60, 60)
    return {"observation.state": np.array([x / 32, way * 0.1, t / 12], np.float32), CAMERA: picture}


@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_at_step_zero_it_is_the_policy_without_reasoning(dataset, backbone):
    torch.manual_seed(0)
    model = architecture(dataset, backbone).build().eval()
    pictures = torch.randint(0, 256, (2, 1, 16, 16, 3), dtype=torch.uint8)
    state, told = torch.randn(2, 3), ["Go left.", "Go right."]
    silent = model.features(model.backbone(pictures, told), state)
    understood = model.backbone(pictures, told, ["I go left.", "I wait."])
    assert torch.allclose(model.features(understood, state), silent, atol=1e-5)
    torch.nn.init.normal_(model.film.weight)
    assert not torch.allclose(model.features(understood, state), silent, atol=1e-2)


def test_alpha_weighs_the_reasoning(dataset, cache):
    for alpha in (0.0, 1.0, 10.0):
        fit = make_fit(dataset, cache)
        fit.network.alpha = alpha
        losses = fit.losses(next(fit.batches), augment=False)
        assert torch.isclose(losses.total, losses.action + alpha * losses.reasoning)


def test_without_reasoning_nothing_is_said(dataset):
    model = architecture(dataset, reasoning=False).build().eval()
    assert not hasattr(model, "film")
    chunks, said = model.act(torch.zeros(2, 1, 16, 16, 3, dtype=torch.uint8), torch.zeros(2, 3), ["a", "b"])
    assert said == ["", ""]
    assert chunks.shape == (2, 4, 2)


def test_it_learns_to_act_and_to_say_why(fitted):
    policy = VLAPolicy.load(fitted)
    for way, word in ((1, "right"), (-1, "left")):
        policy.reset(f"Go {word}.")
        chunk = policy.act(observation(way))
        assert policy.said == f"I go {word}."
        assert chunk.shape == (4, 2)
        assert (np.sign(chunk[:, 0]) == way).all()
        assert abs(chunk[0, 0] - way) < 0.3


def test_it_is_told_otherwise_while_it_runs(fitted):
    policy = VLAPolicy.load(fitted, think_every=100)
    policy.reset("Go right.")
    policy.act(observation(1, 2))
    before = policy.said
    policy.act(observation(1, 6))
    assert policy.said == before  # kept between chunks
    policy.instruct("Go left.")
    policy.act(observation(1, 6))
    assert policy.instruction == "Go left."
    assert policy._chunks == 1  # thought anew


def test_batches_and_single_observations_agree(fitted):
    policy = VLAPolicy.load(fitted)
    seen = [observation(1), observation(-1)]
    both, said = policy.predict({k: np.stack([s[k] for s in seen]) for k in seen[0]}, ["Go right.", "Go left."])
    for i, told in enumerate(("Go right.", "Go left.")):
        policy.reset(told)
        assert np.allclose(policy.act(seen[i]), both[i], atol=1e-4)
        assert policy.said == said[i]


def test_a_missing_or_misshapen_observation_is_named(fitted):
    policy = VLAPolicy.load(fitted)
    with pytest.raises(ConfigError, match=rf"needs '{CAMERA}' of shape \(32, 32, 3\), got nothing"):
        policy.act({"observation.state": np.zeros(3, np.float32)})
    with pytest.raises(ConfigError, match=r"'observation.state' of shape \(3,\), got \(4,\)"):
        policy.act({**observation(), "observation.state": np.zeros(4, np.float32)})


@pytest.mark.parametrize("head", [L1, DIFFUSION], ids=["l1", "diffusion"])
@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_two_steps_then_two_more_are_four(dataset, cache, tmp_path, backbone, head):
    straight = make_fit(dataset, cache, backbone, head)
    straight.run(tmp_path / "straight")
    make_fit(dataset, cache, backbone, head).run(tmp_path / "halved", until=2)
    resumed = make_fit(dataset, cache, backbone, head)
    rows = []
    resumed.run(tmp_path / "halved", rows.append)
    assert resumed.step == 4
    assert min(row.step for row in rows) > 2
    for one, two in ((straight.network.state_dict(), resumed.network.state_dict()),):
        assert all(torch.equal(one[k], two[k]) for k in one)
    files = [(tmp_path / n / "policy" / "model.safetensors").read_bytes() for n in ("straight", "halved")]
    assert files[0] == files[1]


def test_a_damaged_snapshot_is_passed_over(dataset, cache, tmp_path):
    fit = make_fit(dataset, cache)
    fit.run(tmp_path, until=4)
    newest = max((tmp_path / "snapshots").iterdir())
    data = bytearray((newest / "tensors.safetensors").read_bytes())
    data[-5] ^= 1
    (newest / "tensors.safetensors").write_bytes(bytes(data))
    again = make_fit(dataset, cache)
    rows = []
    again.run(tmp_path, rows.append)
    assert min(row.step for row in rows) > 2
    other = make_fit(dataset, cache, head=DIFFUSION)
    with pytest.raises(CheckpointError, match="does not fit this configuration"):
        other.run(tmp_path)


def _flip(folder):
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 4
    (folder / "model.safetensors").write_bytes(bytes(data))


def _cut(folder):
    os.truncate(folder / "model.safetensors", 1000)


def _edit(change):
    def do(folder):
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return do


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (_flip, "model.safetensors was altered or truncated"),
        (_cut, "model.safetensors was altered or truncated"),
        (_edit(lambda m: m["normalization"]["action_low"].__setitem__(0, -9.0)), "statistics were altered"),
        (_edit(lambda m: m["architecture"].update(action_size=3)), "architecture or statistics were altered"),
        (_edit(lambda m: m.update(format="embodied.vla_policy/9")), "this version reads"),
        (lambda folder: (folder / "manifest.json").unlink(), "no policy in"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "of format 'list'"),
    ],
)
def test_an_altered_policy_is_refused_by_name(fitted, tmp_path, damage, match):
    folder = shutil.copytree(fitted, tmp_path / "policy")
    load_parts(folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=match):
        load_parts(folder)


def test_statistics_and_sizes_that_do_not_fit_are_refused_by_name(fitted, tmp_path):
    from dataclasses import replace

    model, architecture, normalization = load_parts(fitted)
    wrong = replace(normalization, state_mean=np.zeros(4, np.float32))
    save_policy(tmp_path / "a", model.state_dict(), architecture, wrong)
    with pytest.raises(CheckpointError, match=r"'state_mean' \(4,\) do not fit 3 state components"):
        load_parts(tmp_path / "a")
    bigger = replace(architecture, action_size=3)
    three = replace(normalization, action_low=np.full(3, -1.0), action_high=np.ones(3))
    save_policy(tmp_path / "b", model.state_dict(), bigger, three)
    with pytest.raises(CheckpointError, match=r"(?s)does not hold a policy: .*size mismatch"):
        load_parts(tmp_path / "b")
    fewer = dict(list(model.state_dict().items())[1:])
    save_policy(tmp_path / "c", fewer, architecture, normalization)
    with pytest.raises(CheckpointError, match="weights do not fit the architecture"):
        load_parts(tmp_path / "c")


def test_normalisation_is_undone_exactly_and_still_actions_do_no_harm():
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(100, 3)) * [1, 10, 0] + [0, 5, 2]
    stats = {"min": raw.min(0), "max": raw.max(0), "mean": raw.mean(0), "std": raw.std(0)}
    norm = Normalization.of({"action": stats, "observation.state": stats}, "action", "observation.state")
    scaled = norm.actions(raw)
    assert scaled.min() >= -1
    assert scaled.max() <= 1
    assert np.allclose(norm.raw_actions(scaled), raw, atol=1e-4)
    assert np.isfinite(norm.states(raw)).all()
    assert Normalization.from_json(json.loads(json.dumps(norm.to_json())), 3, 3).to_json() == norm.to_json()
    with pytest.raises(ConfigError, match="no statistics of 'torque'"):
        Normalization.of({"action": stats}, "action", "torque")


def test_shifts_move_pictures_and_nothing_else():
    pictures = torch.arange(4 * 8 * 8 * 3, dtype=torch.uint8).reshape(4, 1, 8, 8, 3)
    moved = shifted(pictures, 2, torch.Generator().manual_seed(0))
    assert moved.shape == pictures.shape
    inner = {tuple(p[0, 3:5, 3:5].flatten().tolist()) for p in moved}
    candidates = {
        tuple(pictures[i, 0, 3 + a : 5 + a, 3 + b : 5 + b].flatten().tolist())
        for i in range(4)
        for a in range(-2, 3)
        for b in range(-2, 3)
    }
    assert inner <= candidates
    assert torch.equal(shifted(pictures, 0, torch.Generator()), pictures)


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"steps": 0}, "steps=0"), ({"lr": -1.0}, "lr=-1"), ({"precision": "fp8"}, "precision='fp8'")],
)
def test_wrong_settings_are_refused(changes, match):
    with pytest.raises(ConfigError, match=match):
        FitSettings(**changes)
