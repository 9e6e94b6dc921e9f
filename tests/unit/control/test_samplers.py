"""Every sampler of `conf/planner/`: climbs, keeps to the range, repeats, and never follows what diverged."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from embodied.control.cem import CEM
from embodied.control.spline import shift_basis
from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.errors import ConfigError

NAMES = sorted(path.stem for path in (conf_dir() / "planner").glob("*.yaml"))
K, A, N = 5, 3, 64
TARGET = np.linspace(-0.7, 0.7, K * A).reshape(K, A)


def sampler(name):
    made = build(yaml.safe_load((conf_dir() / "planner" / f"{name}.yaml").read_text()))
    made.reset(K, A)
    return made


def bowl(candidates):
    return -((candidates - TARGET) ** 2).sum(axis=(1, 2))


def climbed(name, rounds=60, seed=0):
    made, rng, plan = sampler(name), np.random.default_rng(seed), np.zeros((K, A))
    for _ in range(rounds):
        candidates = made.propose(plan, N, rng)
        plan = made.update(candidates, bowl(candidates))
    return plan


@pytest.mark.parametrize("name", NAMES)
def test_it_climbs(name):
    assert bowl(climbed(name)[None])[0] > 0.15 * bowl(np.zeros((1, K, A)))[0]


@pytest.mark.parametrize("name", NAMES)
def test_it_repeats(name):
    np.testing.assert_array_equal(climbed(name, 5), climbed(name, 5))
    assert not np.array_equal(climbed(name, 5), climbed(name, 5, seed=1))


@pytest.mark.parametrize("name", NAMES)
def test_candidates_lie_in_the_range_and_begin_with_the_plan(name):
    plan = np.full((K, A), 0.95)
    candidates = sampler(name).propose(plan, N, np.random.default_rng(0))
    assert candidates.shape == (N, K, A)
    assert np.abs(candidates).max() <= 1.0
    np.testing.assert_array_equal(candidates[0], plan)


@pytest.mark.parametrize("name", NAMES)
def test_what_diverged_is_never_followed(name):
    made, rng, plan = sampler(name), np.random.default_rng(0), np.zeros((K, A))
    candidates = made.propose(plan, N, rng)
    returns = np.full(N, -np.inf)
    returns[7] = -3.0
    np.testing.assert_allclose(made.update(candidates, returns), candidates[7])
    np.testing.assert_array_equal(made.update(candidates, np.full(N, -np.inf)), plan)


def test_spread_of_cem_shrinks_with_agreement_and_grows_at_the_new_end():
    made, rng, plan = CEM(), np.random.default_rng(0), np.zeros((K, A))
    made.reset(K, A)
    for _ in range(30):
        candidates = made.propose(plan, N, rng)
        plan = made.update(candidates, bowl(candidates))
    spread = made.propose(plan, 4000, rng).std(axis=0)
    assert spread.max() < 0.1
    made.shift(shift_basis(K, 20, "linear", 10))
    spread = made.propose(plan * 0, 4000, rng).std(axis=0)
    assert spread[-1].min() > 2 * spread[0].max()


@pytest.mark.parametrize("wrong", [{"noise": 0.0}, {"elites": 1.5}, {"min_noise": 0.9}, {"inertia": 1.0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match="CEM"):
        CEM(**wrong)
