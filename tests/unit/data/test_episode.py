"""Episodes on disk."""

from __future__ import annotations

import numpy as np
import pytest

from embodied.core.errors import CheckpointError, ConfigError
from embodied.data.episode import Edit, Episode, load_episode


def episode(n=3):
    rng = np.random.default_rng(0)
    return Episode(
        "reach", {"_target_": "x"}, "go there", 0.05, rng.normal(size=(n + 1, 5)), rng.normal(size=(n + 1, 2)),
        rng.uniform(-1, 1, (n, 2)), {"goal.position": np.arange(3.0)}, (Edit("body_pos", 2, np.ones((1, 3))),), 0.5,
        {"planner": True},
    )  # fmt: skip


def test_round_trip_is_exact(tmp_path):
    mine = episode()
    mine.save(tmp_path / "e")
    other = load_episode(tmp_path / "e")
    for name in ("states", "controls", "actions"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(other, name))
    np.testing.assert_array_equal(other.parameters["goal.position"], np.arange(3.0))
    assert (other.edits[0].field, other.edits[0].index) == ("body_pos", 2)
    assert (other.task, other.instruction, other.t0_s, other.source) == ("reach", "go there", 0.5, {"planner": True})


@pytest.mark.parametrize("name", ["episode.npz", "episode.json"])
def test_half_an_episode_is_none(tmp_path, name):
    episode().save(tmp_path / "e")
    (tmp_path / "e" / name).write_bytes((tmp_path / "e" / name).read_bytes()[:50])
    with pytest.raises(CheckpointError, match="holds no whole episode"):
        load_episode(tmp_path / "e")


def test_lengths_must_agree():
    good = episode()
    with pytest.raises(ConfigError, match="needs 4 finite states"):
        Episode("t", {}, "", 0.05, good.states[:-1], good.controls, good.actions)
