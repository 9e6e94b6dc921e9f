"""`embodied evaluate`: measure a saved policy's success on fresh episodes."""

from __future__ import annotations

import json
from pathlib import Path

HELP = """embodied evaluate run=<run folder> [key=value ...]

Plays fresh episodes with a run's policy and prints the success rate with its 95% interval. No reward code is loaded.

  episodes=100  seed=0  randomization=<name>  'task_changes={tolerance_m: 0.01}'

examples:
  embodied evaluate run=runs/2026-01-31/12-00-00-Reach-1a2b episodes=200
  embodied evaluate run=runs/2026-01-31/12-00-00-Reach-1a2b randomization=light
"""


def run(arguments: list[str]) -> int:
    """Runs the command."""
    from embodied.commands.compose import run_composed

    return run_composed("evaluate", arguments, execute)


def execute(composed) -> int:
    """Runs one composed configuration."""
    from embodied.commands.compose import load_run_config
    from embodied.core.build import build
    from embodied.core.runs import RunFolder
    from embodied.rl.job import EVALUATE_SEED, policy_actor
    from embodied.rl.policy import MLPPolicy
    from embodied.rl.writing import make_task
    from embodied.sim.evaluation import evaluate

    config = composed.config
    folder = RunFolder.open(Path(config["run"]))
    trained = load_run_config(folder.path)
    task = make_task({**trained["task"], **(config["task_changes"] or {})}, composed.trusted_packages)
    policy = MLPPolicy.load(folder / "policy")
    randomization = build(config["randomization"]) if config["randomization"] else None
    found = evaluate(
        task,
        policy_actor(policy),
        episodes=int(config["episodes"]),
        seed=EVALUATE_SEED + int(config["seed"]),
        randomization=randomization,
    )
    row = {"task": task.name, **found.to_json()}
    folder.event("evaluation", **row)
    print(f"success {row['rate']:.1%} [{row['low']:.1%}, {row['high']:.1%}], at the end {row['at_end']:.1%}")
    print(json.dumps(row))
    return 0
