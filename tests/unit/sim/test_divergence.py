"""Divergence is an error that names environment, step and state, and leaves the other environments alone."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import yaml

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.errors import ConfigError, DivergenceError
from embodied.sim.batch_env import BatchEnv
from embodied.sim.engine import BatchEngine


@pytest.fixture(autouse=True)
def _log_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings to a file in the working folder


def made(name: str, n: int = 3, **more) -> BatchEnv:
    task = build(yaml.safe_load((conf_dir() / "task" / f"{name}.yaml").read_text()))
    env = BatchEnv(task, n_envs=n, seed=0, **more)
    env.reset()
    return env


def stepped(engine: BatchEngine, control: np.ndarray, times: int) -> None:
    for _ in range(times):
        engine.step(control)


@pytest.mark.parametrize("name", ["hopper", "ant", "reach"])
@pytest.mark.parametrize("value", [np.nan, 1e9, -1e9, np.inf])
def test_a_wild_value_anywhere_in_the_state_is_found(name, value):
    env = made(name)
    quiet = np.zeros((3, env.task.action_size))
    for _ in range(4):
        env.step(quiet)
    snapshot = env.get_state()
    for column in range(1, env.engine.n_state):
        env.engine.states[1, column] = value
        held = env.engine.states.copy()
        with pytest.raises(DivergenceError, match=r"environment 1 .* at control step 5, t = "):
            env.step(quiet)
        np.testing.assert_array_equal(env.engine.states, held)  # nobody moved
        env.set_state(snapshot)


def test_the_error_carries_environment_step_and_state():
    env = made("hopper", n_threads=2)
    env.engine.states[2, 3] = np.nan
    with pytest.raises(DivergenceError) as caught:
        env.step(np.zeros((3, 3)))
    assert (caught.value.env, caught.value.step) == (2, 1)
    assert np.isnan(caught.value.state[3])
    assert "nan" in str(caught.value)


def test_after_the_error_a_snapshot_goes_on_as_if_nothing_had_been():
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 3, 3))
    calm, shaken = made("hopper"), made("hopper")
    for action in actions[:3]:
        calm.step(action)
        shaken.step(action)
    snapshot = shaken.get_state()
    shaken.engine.states[0, 5] = 1e9
    with pytest.raises(DivergenceError):
        shaken.step(actions[3])
    shaken.set_state(snapshot)
    for action in actions[3:]:
        np.testing.assert_array_equal(calm.step(action).observation, shaken.step(action).observation)


@pytest.mark.parametrize("n_substeps", [1, 2, 5])
@pytest.mark.parametrize("state", [(5, 1e6), (7, 1e7), (9, 9e7)])
def test_a_blow_up_inside_the_step_is_found(n_substeps, state):
    # Below the limit when given: MuJoCo itself sees a huge acceleration and resets, at whichever substep.
    column, value = state
    model = made("hopper").task.model
    engine = BatchEngine(model, n_envs=2, n_substeps=n_substeps)
    engine.states[1, column] = value
    control = np.zeros((2, 3))
    with pytest.raises(DivergenceError, match="environment 1"):
        stepped(engine, control, 50)


@pytest.mark.parametrize("n_substeps", [1, 4])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9, 1e11, -1e300])
def test_huge_controls_are_found(n_substeps, value):
    engine = BatchEngine(made("hopper").task.model, n_envs=2, n_substeps=n_substeps)
    with pytest.raises(DivergenceError, match="environment 1"):
        engine.step(np.array([[0, 0, 0], [0, value, 0]], dtype=float))


def test_a_stiff_unlimited_motor_that_blows_up_is_found():
    model = mujoco.MjModel.from_xml_string(
        """<mujoco><option timestep="0.01"/><worldbody><body><joint name="j" damping="0"/>
        <geom size="0.05" mass="0.001"/></body></worldbody>
        <actuator><motor joint="j" gear="1e7"/></actuator></mujoco>"""
    )
    engine = BatchEngine(model, n_envs=2, n_substeps=1)
    with pytest.raises(DivergenceError, match="environment 0"):
        stepped(engine, np.array([[1e6], [0.0]]), 5)


def test_actions_that_are_not_finite_are_refused_before_anything_moves():
    env = made("hopper")
    held = env.engine.states.copy()
    for bad in (np.full((3, 3), np.nan), np.zeros((2, 3)), np.full((3, 3), np.inf)):
        with pytest.raises(ConfigError, match="action must be finite"):
            env.step(bad)
    np.testing.assert_array_equal(env.engine.states, held)
    env.step(np.full((3, 3), 1e9))  # finite but beyond [-1, 1]: clipped
