"""The short Python API; every function is one of the commands without its terminal.

This is wiring, like `embodied.commands`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embodied.core.policy import Policy
from embodied.core.writer import Check
from embodied.rl.job import EVALUATE_SEED, policy_actor
from embodied.rl.policy import MLPPolicy
from embodied.rl.writing import ROLLOUT_SEED, make_task
from embodied.sim.evaluation import Evaluation
from embodied.sim.evaluation import evaluate as _evaluate
from embodied.sim.gym_env import TaskEnv
from embodied.sim.task import Task

__all__ = ["check_reward", "evaluate", "load_policy", "make_env", "make_task", "plan", "train"]


def make_env(task: Task | str, **arguments: Any) -> TaskEnv:
    """A task as a Gymnasium environment; see `embodied.sim.gym_env.TaskEnv`."""
    return TaskEnv(make_task(task) if isinstance(task, str) else task, **arguments)


def train(*, overrides: Sequence[str] = (), **choices: Any) -> Path:
    """Runs the main job and returns its run folder.

    Args:
        overrides: further words as on the command line, such as `trainer.total_steps=50_000`.
        **choices: `task`, `reward`, `llm`, `trainer`, `instruction`, `seed`, `runs_dir`, ...

    Raises:
        EmbodiedError: what the command would print as an error.
    """
    from embodied.commands.compose import compose_config
    from embodied.commands.train import execute

    words = [f"{key}={_word(value)}" for key, value in choices.items()]
    before: list[Path] = []
    execute(compose_config("train", [*words, *overrides]), started=before.append)
    return before[0]


def plan(*, overrides: Sequence[str] = (), **choices: Any) -> dict[str, Any]:
    """Lets a reward program drive fresh episodes by sampling MPC; returns the result row (success, rates, terms).

    Args:
        overrides: further words as on the command line, such as `planning.n_samples=64`.
        **choices: `task`, `reward`, `llm`, `planner`, `episodes`, `seed`, `runs_dir`, ...

    Raises:
        EmbodiedError: what the command would print as an error.
    """
    from embodied.commands.compose import compose_config
    from embodied.commands.plan import execute

    found: list[dict[str, Any]] = []
    words = [f"{key}={_word(value)}" for key, value in choices.items()]
    execute(compose_config("plan", [*words, *overrides]), finished=found.append)
    return found[0]


def load_policy(path: str | Path) -> Policy:
    """The policy of a run folder of `train` or `fit`, or of a saved policy's own folder."""
    from embodied.deploy.acting import load_policy

    path = Path(path)
    return load_policy(path / "policy" if (path / "policy").is_dir() else path)


def evaluate(task: Task | str, policy: Policy, *, episodes: int = 50, seed: int = 0) -> Evaluation:
    """Success of a policy on fresh episodes, by the task's own predicate."""
    task = make_task(task) if isinstance(task, str) else task
    if not isinstance(policy, MLPPolicy):
        from embodied.policies.trial import try_out

        return try_out(task, policy, episodes=episodes, seed=EVALUATE_SEED + seed)
    return _evaluate(task, policy_actor(policy), episodes=episodes, seed=EVALUATE_SEED + seed)


def check_reward(source: str, task: Task | str, *, run: bool = True) -> Check:
    """The verdict on a reward program; with `run` it is also tried under the lock and screened."""
    from embodied.rewards.check import Checker
    from embodied.rewards.rollouts import record_rollouts

    task = make_task(task) if isinstance(task, str) else task
    rollouts = record_rollouts(task, seed=ROLLOUT_SEED) if run else None
    return Checker(task.schema, rollouts).check_text(source, task.name)


def _word(value: Any) -> str:
    """A value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Path):
        text = str(value).replace("'", "\\'")
        trailing = len(text) - len(text.rstrip("\\"))
        return f"'{text}{chr(92) * trailing}'"  # before the closing quote a backslash must be doubled
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{_word(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_word(v) for v in value) + "]"
    return str(value)
