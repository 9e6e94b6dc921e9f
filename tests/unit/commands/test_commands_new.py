"""Skeletons work as they are written; nothing is overwritten."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from embodied.commands import new
from embodied.core.build import build
from embodied.core.errors import ConfigError
from embodied.sim.batch_env import BatchEnv
from embodied.sim.task import Task

DOUBLE = """<mujoco><worldbody>
  <body name="base"><freejoint/><geom size=".1" mass="1"/>
    <body name="Arm-2" pos=".2 0 0"><joint name="class" axis="0 1 0" limited="true" range="-90 90"/>
      <geom type="capsule" fromto="0 0 0 .2 0 0" size=".02"/>
      <body name="tip" pos=".3 0 0"><joint type="ball"/><geom size=".05"/></body></body></body></worldbody>
  <actuator><motor joint="class" ctrlrange="-1 1"/></actuator></mujoco>"""
UNSTABLE = """<mujoco><worldbody>
  <body><freejoint/><geom size=".1"/><body name="arm"><joint name="j" axis="0 1 0"/><joint type="ball"/>
  <geom type="capsule" fromto="0 0 0 .3 0 0" size=".02"/></body></body></worldbody>
  <actuator><motor joint="j" ctrlrange="-1 1"/></actuator></mujoco>"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("zz_")]:
        del sys.modules[name]


def built(name: str, folder: Path) -> Task:
    return build(yaml.safe_load((folder / "task" / f"{name}.yaml").read_text()), trusted_packages=[name])


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("zz_own", []),
        ("zz_mjcf", ["--from", "mjcf", "double.xml"]),
        ("zz_reacher", ["--from", "gymnasium", "Reacher-v5"]),
        ("zz_pusher", ["--from", "gymnasium", "Pusher-v5"]),
        ("zz_pendulum", ["--from", "gymnasium", "InvertedPendulum-v5"]),
    ],
)
def test_a_new_task_keeps_the_task_contract(name, source, folder, capsys):
    (folder / "double.xml").write_text(DOUBLE)
    assert new.run(["task", name, *source]) == 0
    assert f"task={name}" in capsys.readouterr().out
    task = built(name, folder)
    env = BatchEnv(task, n_envs=3, seed=0)
    first = env.reset()
    again = BatchEnv(task, n_envs=3, seed=0)
    assert np.array_equal(again.reset(), first)
    assert first.shape == (3, task.observation_size)
    reward = task.expert_reward().bind(reviewed=True)
    rng = np.random.default_rng(0)
    for _ in range(4):
        step = env.step(rng.uniform(-1, 1, (3, task.action_size)))
        total, terms = reward(step.world, step.action)
        assert total.shape == (3,)
        rows = np.array([reward(step.world.rows(i), step.action[i])[0] for i in range(3)])
        assert np.allclose(total, rows)
        assert set(terms) == {"near", "at_goal", "effort"}
    assert step.success.dtype == bool
    assert task.schema.class_listing()


def test_a_new_task_finds_its_model_from_elsewhere(folder, monkeypatch):
    (folder / "scenes").mkdir()
    (folder / "scenes" / "double.xml").write_text(DOUBLE)
    new.run(["task", "zz_sub", "--from", "mjcf", "scenes/double.xml", "--folder", "mine"])
    monkeypatch.chdir("/")
    sys.path.append(str(folder / "mine"))
    assert built("zz_sub", folder / "mine").model.nu == 1


def test_a_new_robot_works_as_a_loop_back(folder):
    assert new.run(["robot", "zz_arm"]) == 0
    robot = build(yaml.safe_load((folder / "robot" / "zz_arm.yaml").read_text()), trusted_packages=["zz_arm"])
    assert robot.action_features == {"action": (3,)}
    with pytest.raises(ConfigError, match="not connected"):
        robot.observe()
    robot.connect()
    assert np.allclose(robot.send(np.array([1.0, 0.05, -1.0])), [0.1, 0.05, -0.1])
    assert np.allclose(robot.observe()["observation.state"], [0.1, 0.05, -0.1])
    with pytest.raises(ConfigError, match="finite"):
        robot.send(np.array([np.nan, 0, 0]))
    robot.disconnect()
    robot.disconnect()
    assert not robot.connected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tsk", "x"], "Did you mean 'task'"),
        (["task"], "say what and its name"),
        (["task", "Push Mug"], "small letters"),
        (["task", "hopper"], "shipped task"),
        (["task", "numpy"], "Python module 'numpy'"),
        (["task", "zz_a", "--from", "urdf", "x"], "--from mjcf"),
        (["task", "zz_a", "--from", "mjcf", "nowhere.xml"], "no file"),
        (["task", "zz_a", "--from", "mjcf", "broken.xml"], "does not read"),
        (["task", "zz_a", "--from", "mjcf", "still.xml"], "no actuator"),
        (["task", "zz_a", "--from", "mjcf", "open.xml"], "without ctrlrange: m"),
        (["task", "zz_a", "--from", "mjcf", "unstable.xml"], "unstable at its start"),
        (["task", "zz_a", "--from", "gymnasium", "Nope-v0"], "cannot make 'Nope-v0'"),
        (["task", "zz_a", "--from", "gymnasium", "CartPole-v1"], "not a MuJoCo environment"),
    ],
)
def test_refusals(words, message, folder):
    joint = '<worldbody><body name="b"><joint name="j"/><geom size=".1"/></body></worldbody>'
    (folder / "unstable.xml").write_text(UNSTABLE)
    (folder / "broken.xml").write_text("<mujoco><nonsense/></mujoco>")
    (folder / "still.xml").write_text(f"<mujoco>{joint}</mujoco>")
    (folder / "open.xml").write_text(f'<mujoco>{joint}<actuator><motor name="m" joint="j"/></actuator></mujoco>')
    before = sorted(folder.rglob("*"))
    with pytest.raises(ConfigError, match=message):
        new.run(words)
    assert sorted(folder.rglob("*")) == before


def test_nothing_is_overwritten(folder):
    new.run(["task", "zz_once"])
    (folder / "zz_once.py").write_text("mine")
    with pytest.raises(ConfigError, match="not overwritten"):
        new.run(["task", "zz_once"])
    assert (folder / "zz_once.py").read_text() == "mine"
