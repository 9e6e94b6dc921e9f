"""What a batch of episodes promises at the seams: new starts, falls at the last step, delays, snapshots."""

from __future__ import annotations

import numpy as np
import pytest

from embodied.core.errors import DivergenceError
from embodied.rl.writing import make_task
from embodied.sim.batch_env import BatchEnv
from embodied.sim.randomization import Randomization

N = 6


def made(name: str = "hopper", *, seed: int = 0, elapsed: list[int] | None = None, **noise) -> BatchEnv:
    env = BatchEnv(make_task(name), n_envs=N, seed=seed, randomization=Randomization(**noise) if noise else None)
    env.reset()
    if elapsed is not None:
        state = env.get_state()
        state["arrays"]["elapsed"] = np.array(elapsed)
        env.set_state(state)
    return env


@pytest.mark.parametrize("name", ["reach", "open_drawer"])
def test_the_world_is_that_of_the_present_state_whichever_rows_began_anew(name):
    env = made(name)
    last = env.task.episode_steps
    env = made(name, elapsed=[last - 1, last - 2, 0, last - 1, 0, 0])
    actions = np.random.default_rng(0).uniform(-1, 1, (4, N, env.task.action_size))
    for number, action in enumerate(actions):
        step = env.step(action)
        assert step.truncated.sum() == (2, 1, 0, 0)[number]
        whole = env.engine.read(env.engine.states)
        for row in range(N):
            parameters = env.start_of(row).parameters
            began = env.engine.states[row : row + 1, 0] - env.world.time[row]
            want = env.task.world_values(env.engine.states[row : row + 1], whole[row : row + 1], parameters, began)
            for path, value in want.items():
                np.testing.assert_array_equal(env.world.quantity(path)[row], value[0], err_msg=f"{path}, row {row}")


def test_a_fall_at_the_very_last_step_is_a_fall_and_no_time_limit():
    env = made(elapsed=[0, 999, 0, 999, 0, 0])
    assert env.task.episode_steps == 1000
    fallen = env.engine.states.copy()
    fallen[[0, 1], 2] = 0.2  # the torso's height: on the ground
    env.engine.states = fallen
    step = env.step(np.zeros((N, env.task.action_size)))
    assert step.terminated.tolist() == [True, True, False, False, False, False]
    assert step.truncated.tolist() == [False, False, False, True, False, False]


def test_a_new_episode_gets_no_action_of_the_one_before():
    env = made(elapsed=[997] * 3 + [0] * 3, max_delay_steps=3)
    state = env.get_state()
    state["arrays"]["delay"][:] = 3
    env.set_state(state)
    sent, began = [], np.zeros(N, dtype=int)
    for number in range(8):
        action = np.full((N, env.task.action_size), 0.1 * (number + 1))
        delay = env.get_state()["arrays"]["delay"]
        sent.append(0.1 * (number + 1))
        step = env.step(action)
        for row in np.flatnonzero(~step.truncated):
            late = max(number - int(delay[row]), int(began[row]))
            assert env.engine.control[row, 0] == pytest.approx(sent[late]), (number, row)
        began[step.truncated] = number + 1
    assert set(began) == {0, 3}


def test_an_action_that_diverged_was_never_sent():
    """After a divergence nothing has moved, so the motors' queue of late actions is as before, too."""
    shaken, calm = (made(max_delay_steps=2, seed=3) for _ in range(2))
    actions = np.random.default_rng(0).uniform(-1, 1, (8, N, 3))
    for action in actions[:3]:
        shaken.step(action)
        calm.step(action)
    healthy = shaken.engine.states.copy()
    wild = healthy.copy()
    wild[0, 5] = np.nan
    shaken.engine.states = wild
    with pytest.raises(DivergenceError):
        shaken.step(-actions[3])
    shaken.engine.states = healthy
    for action in actions[3:]:
        np.testing.assert_array_equal(shaken.step(action).observation, calm.step(action).observation)


def test_a_snapshot_taken_from_what_a_snapshot_made_is_the_same():
    noise = {"mass_factor": 1.5, "friction_factor": 1.5, "max_delay_steps": 3, "observation_noise_std": 0.01}
    env, other = made(**noise), made(seed=9, **noise)
    for action in np.random.default_rng(0).uniform(-1, 1, (4, N, 3)):
        env.step(action)
    state = env.get_state()
    assert any(not np.array_equal(value, other.get_state()["arrays"][key]) for key, value in state["arrays"].items())
    other.set_state(state)
    again = other.get_state()
    assert again["arrays"].keys() == state["arrays"].keys()
    for key, value in state["arrays"].items():
        np.testing.assert_array_equal(again["arrays"][key], value, err_msg=key)
    assert (again["rng"], again["step_count"]) == (state["rng"], state["step_count"])
    for row in range(N):  # and the models are those of the snapshot
        for field in ("body_mass", "body_inertia", "geom_friction", "body_subtreemass"):
            want = getattr(env.engine.model_of(row), field)
            np.testing.assert_array_equal(getattr(other.engine.model_of(row), field), want, err_msg=field)
