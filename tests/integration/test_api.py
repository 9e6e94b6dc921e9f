"""The Python API: lazily exported, and the same as the commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

import embodied
from embodied.core.errors import ConfigError, UnknownNameError

TINY = [
    "trainer.total_steps=2000",
    "trainer.n_envs=8",
    "evaluation.episodes=2",
    "evaluation.selection_episodes=2",
    "evaluation.candidates=1",
    "video.episodes=0",
]


def test_importing_loads_nothing_heavy():
    code = (
        "import embodied, sys;"
        "heavy = {'torch', 'mujoco', 'transformers', 'hydra', 'gymnasium'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_exported_name_resolves():
    for name in embodied.__all__:
        assert getattr(embodied, name) is not None
    with pytest.raises(AttributeError, match="make_task"):
        embodied.make_tasks  # noqa: B018


def test_train_load_and_evaluate(tmp_path):
    run = embodied.train(
        task="reach",
        reward="expert",
        instruction="Touch the ball, gently: don't push!",
        baselines=[],
        runs_dir=str(tmp_path / "my runs"),
        overrides=TINY,
    )
    assert (run / "report.html").is_file()
    assert "don't push!" in (run / "config.yaml").read_text().replace("''", "'")
    policy = embodied.load_policy(run)
    found = embodied.evaluate("reach", policy, episodes=3)
    assert len(found.success) == 3


def test_check_reward_gives_the_verdict():
    source = "import numpy as np\n\n\ndef reward(world, action):\n    return {'d': world.goal.relativ[..., 0]}\n"
    check = embodied.check_reward(source, "reach", run=False)
    assert check.verdict == "rejected_static"
    assert check.line == 5
    assert "relative" in check.message


def test_mistakes_are_answered():
    with pytest.raises(UnknownNameError, match="Did you mean 'reach'"):
        embodied.make_task("reech")
    with pytest.raises(ConfigError):
        embodied.train(task="reach", overrides=["trainer.total_stepz=1"])


def test_make_env_is_a_gymnasium_environment():
    env = embodied.make_env("reach")
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    *_, info = env.step(env.action_space.sample())
    assert "success" in info
    env.close()
