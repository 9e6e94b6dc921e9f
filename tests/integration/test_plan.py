"""`embodied plan` end to end: a program in a locked process drives the robot, success is measured outside."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from embodied.commands.main import main
from embodied.control.closed_loop import drive
from embodied.control.locked import LockedPlanner
from embodied.control.mppi import MPPI
from embodied.control.planner import SamplingPlanner
from embodied.control.trial import try_planner
from embodied.core.assets import conf_dir
from embodied.core.errors import ConfigError, RewardCodeError
from embodied.core.reward import RewardProgram
from embodied.rl.writing import make_task
from embodied.sim.batch_env import BatchEnv

SETTINGS = {"n_samples": 16, "horizon_s": 0.3, "n_knots": 3, "n_threads": 1}
SAMPLER = {"_target_": "embodied.control.mppi.MPPI", "noise": 0.2}
NAME = "quadruped/sit_down"


def config_of(name):
    return yaml.safe_load((conf_dir() / "task" / f"{name}.yaml").read_text())


def locked(program, name=NAME, **more):
    return LockedPlanner(make_task(name), config_of(name), program, SAMPLER, SETTINGS, **more)


@pytest.mark.parametrize("name", [NAME, "open_drawer"])
def test_the_locked_planner_plans_what_the_open_one_plans(name):
    task = make_task(name)
    program = task.expert_reward()
    remote = locked(program, name)
    near = SamplingPlanner(task, program.bind(reviewed=True), MPPI(noise=0.2), **SETTINGS)
    paths = []
    try:
        for planner in (remote, near):
            env = BatchEnv(task, n_envs=1, seed=3)
            env.reset()
            planner.reset(5, list(env.start_of(0).edits))
            paths.append(np.array([m.step.action[0] for m in drive(env, planner, 6, replan_every=2)]))
    finally:
        remote.close()
    np.testing.assert_array_equal(*paths)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return {'a': world.torso.positon[..., 2]}", "positon"),
        ("return {'a': np.log(world.time * 0.0 - 1.0)}", "not finite"),
        ("open('/etc/passwd')\n    return {'a': world.time}", "Permission denied"),
    ],
)
def test_a_faulty_program_is_an_error_with_its_message(body, words):
    planner = locked(RewardProgram(f"def reward(world, action):\n    {body}\n", "person", NAME, evaluation="batched"))
    try:
        with pytest.raises(RewardCodeError, match=words):
            try_planner(planner, episodes=1, seed=0)
    finally:
        planner.close()


def test_an_endless_program_is_killed():
    source = "def reward(world, action):\n    for i in range(10**12):\n        pass\n    return {'a': world.time}\n"
    planner = locked(RewardProgram(source, "person", NAME, evaluation="batched"), plan_deadline_s=1.0)
    try:
        with pytest.raises(RewardCodeError, match="stopped"):
            try_planner(planner, episodes=1, seed=0)
        assert planner.end is not None
    finally:
        planner.close()


def test_an_endless_list_of_episodes_is_refused():
    with pytest.raises(ConfigError, match="episodes=0"):
        try_planner(SamplingPlanner(make_task(NAME), lambda w, a: None, MPPI()), episodes=0, seed=0)  # type: ignore[arg-type]


def test_the_command_ends_with_success_and_a_result(tmp_path, capsys):
    code = main(["plan", f"task={NAME}", "episodes=1", "video.seconds=0", f"runs_dir={tmp_path}"])
    row = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert code == 0
    assert row["rate"] == 1.0
    assert row["task"] == NAME
    (result,) = tmp_path.rglob("result.json")
    assert json.loads(result.read_text())["episodes"] == 1


def test_a_misspelt_planner_names_the_known_ones(tmp_path, capsys):
    assert main(["plan", "planner=mpii", f"runs_dir={tmp_path}"]) == 2
    assert "mppi" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
