"""Randomisation changes each environment alone, within its bounds, and delays what it says."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.errors import ConfigError
from embodied.sim.batch_env import BatchEnv
from embodied.sim.randomization import Randomization


def task(name: str = "hopper"):
    return build(yaml.safe_load((conf_dir() / "task" / f"{name}.yaml").read_text()))


HOPPER = task()


@pytest.mark.parametrize("path", sorted((conf_dir() / "randomization").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_file_builds_and_runs(path):
    env = BatchEnv(HOPPER, n_envs=2, seed=0, randomization=build(yaml.safe_load(path.read_text())))
    env.reset()
    assert np.isfinite(env.step(np.zeros((2, 3))).observation).all()


@settings(max_examples=20, deadline=None)
@given(st.floats(1.01, 3), st.floats(1.01, 3), st.integers(0, 1000))
def test_factors_stay_within_their_bounds(mass, friction, seed):
    edits = Randomization(mass_factor=mass, friction_factor=friction).draw_edits(
        np.random.default_rng(seed), HOPPER.model, 16
    )
    table = {edit.field: edit.values for edit in edits}
    assert set(table) == {"body_mass", "body_inertia", "geom_friction"}
    moving = HOPPER.model.body_mass > 0
    ratio = table["body_mass"][:, moving] / HOPPER.model.body_mass[moving]
    assert (ratio >= 1 / mass - 1e-9).all()
    assert (ratio <= mass + 1e-9).all()
    assert ratio.std() > 0
    np.testing.assert_allclose(table["body_inertia"][:, moving, 0] / HOPPER.model.body_inertia[moving, 0], ratio)
    slide = table["geom_friction"][..., 0] / HOPPER.model.geom_friction[:, 0]
    assert (slide >= 1 / friction - 1e-9).all()
    assert (slide <= friction + 1e-9).all()
    np.testing.assert_array_equal(table["geom_friction"][0, :, 1:], HOPPER.model.geom_friction[:, 1:])


@given(st.floats(0.001, 0.5))
def test_cameras_move_within_their_bound_each_on_its_own(most):
    (edit,) = Randomization(camera_position_m=most).draw_edits(np.random.default_rng(0), HOPPER.model, 16)
    assert edit.field == "cam_pos"
    shift = edit.values - HOPPER.model.cam_pos
    assert (np.abs(shift) <= most + 1e-12).all()
    assert (shift.std(axis=0) > 0.2 * most).all()


def test_nothing_is_drawn_when_everything_is_off():
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    assert Randomization().draw_edits(rng, HOPPER.model, 4) == []
    assert rng.bit_generator.state == state


def test_each_environment_has_its_own_model_and_the_tasks_stays():
    before = HOPPER.model.body_mass.copy()
    env = BatchEnv(HOPPER, n_envs=3, seed=0, randomization=Randomization(mass_factor=2.0))
    env.reset()
    masses = [env.engine.model_of(i).body_mass.copy() for i in range(3)]
    assert not np.array_equal(masses[0], masses[1])
    np.testing.assert_array_equal(HOPPER.model.body_mass, before)
    for i in range(3):
        model = env.engine.model_of(i)
        np.testing.assert_allclose(model.body_subtreemass[1], model.body_mass[1:].sum())
    state = env.engine.states.copy()
    state[:] = state[0]
    env.engine.states = state
    env.step(np.full((3, 3), 0.5))
    assert np.abs(env.engine.states[0] - env.engine.states[1]).max() > 1e-6


@pytest.mark.parametrize("most", [1, 3])
def test_actions_reach_the_motors_as_late_as_drawn(most):
    n = 32
    env = BatchEnv(HOPPER, n_envs=n, seed=0, randomization=Randomization(max_delay_steps=most))
    env.reset()
    delay = env.get_state()["arrays"]["delay"]
    assert set(delay) == set(range(most + 1))
    sent = []
    for i in range(8):
        action = np.full((n, 3), 0.1 * (i + 1))
        sent.append(action[0, 0])
        env.step(action, autoreset=False)
        applied = env.engine.control[:, 0]
        want = [sent[max(0, i - d)] for d in delay]
        np.testing.assert_allclose(applied, want)


def test_noise_has_the_declared_size_and_is_not_in_the_world():
    env = BatchEnv(HOPPER, n_envs=400, seed=0, randomization=Randomization(observation_noise_std=0.1))
    observation = env.reset()
    noise = observation - HOPPER.observe(env.world)
    assert noise.std() == pytest.approx(0.1, rel=0.05)
    assert abs(noise.mean()) < 0.01


@pytest.mark.parametrize(
    "wrong",
    [
        {"mass_factor": 0.5},
        {"friction_factor": 0.0},
        {"max_delay_steps": -1},
        {"observation_noise_std": -1.0},
        {"camera_position_m": -1.0},
        {"mass_factor": float("nan")},
    ],
)
def test_wrong_bounds_are_refused(wrong):
    with pytest.raises(ConfigError):
        Randomization(**wrong)
