"""A task under an envelope: its commands keep the bounds that the gate of the real robot keeps."""

import dataclasses

import numpy as np
import pytest
import yaml

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.errors import ConfigError
from embodied.rl.writing import make_task, task_configuration
from embodied.sim.batch_env import BatchEnv

TABLETOP = yaml.safe_load((conf_dir() / "safety" / "tabletop.yaml").read_text())


def commands(task, n=4, steps=60):
    """Set-points `(steps + 1, n, 6)` [rad] under actions that jump between their ends."""
    env, rng = BatchEnv(task, n_envs=n, seed=0), np.random.default_rng(0)
    env.reset()
    model = task.model
    at = slice(1 + model.nq + model.nv, 1 + model.nq + model.nv + 6)
    found = [np.array([env.start_of(i).states[0, at] for i in range(n)])]
    for t in range(steps):
        if t % 8 == 0:
            action = rng.choice([-3.0, -1.0, 1.0, 3.0], (n, 6))
        env.step(action, autoreset=False)
        found.append(np.array([env.start_of(i).states[0, at] for i in range(n)]))
    env.close()
    return np.array(found)


@pytest.mark.parametrize("name", ["reach", "push_cube", "open_drawer"])
def test_commands_keep_the_envelopes_bounds(name):
    task = make_task(name, safety=TABLETOP)
    envelope = build(TABLETOP)
    found, dt = commands(task), task.control_dt_s
    velocity = np.diff(found, axis=0) / dt
    acceleration = np.diff(velocity, axis=0, prepend=0.0 * velocity[:1]) / dt
    assert (found >= np.array(envelope.low_rad) - 1e-6).all()
    assert (found <= np.array(envelope.high_rad) + 1e-6).all()
    assert (np.abs(velocity) <= np.array(envelope.of("max_velocity_radps")) + 1e-6).all()
    assert (np.abs(acceleration) <= np.array(envelope.of("max_acceleration_radps2")) + 1e-4).all()


def test_without_one_they_do_not():
    found, dt = commands(make_task("reach")), 0.05
    velocity = np.diff(found, axis=0) / dt
    assert np.abs(np.diff(velocity, axis=0)).max() / dt > max(build(TABLETOP).of("max_acceleration_radps2"))


def test_a_tighter_envelope_is_kept():
    envelope = build(TABLETOP)
    joints = {
        k: dataclasses.replace(v, high_rad=v.high_rad - 0.9, low_rad=v.low_rad + 0.4)
        for k, v in envelope.joints.items()
    }
    task = make_task("reach")
    task.bound_by(dataclasses.replace(envelope, joints={**envelope.joints, "shoulder_pan": joints["shoulder_pan"]}))
    pan = commands(task)[..., 0]
    assert pan.max() <= 1.0 + 1e-6 < commands(make_task("reach"))[..., 0].max()
    assert pan.min() >= -1.5 - 1e-6


def test_an_envelope_of_another_robot_is_refused():
    koch = yaml.safe_load((conf_dir() / "safety" / "koch.yaml").read_text())
    with pytest.raises(ConfigError, match="commands no robot's joints"):
        make_task("metaworld/drawer-open", safety=koch)
    other = {**TABLETOP, "joints": {f"x_{k}": v for k, v in TABLETOP["joints"].items()}}
    with pytest.raises(ConfigError, match="the envelope bounds x_shoulder_pan"):
        make_task("reach", safety=other)


def test_no_envelope_is_none():
    assert make_task({**task_configuration("reach"), "safety": None}).name == "reach"
