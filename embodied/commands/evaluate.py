"""`embodied evaluate`: measure a saved policy's success on fresh episodes."""

from __future__ import annotations

import json
from pathlib import Path

HELP = """embodied evaluate run=<run folder of train> [key=value ...]
       embodied evaluate policy=<run folder of fit> tasks=[<task>, ...] [key=value ...]

Plays fresh episodes with a policy and prints the success rate with its 95% interval. No reward code is loaded.

  episodes=100  seed=0
  for run=:     randomization=<name>  'task_changes={tolerance_m: 0.01}'
  for policy=:  instruction="..."  episode_steps=200  think_every=4  video=false

examples:
  embodied evaluate run=runs/2026-01-31/12-00-00-Reach-1a2b episodes=200
  embodied evaluate run=runs/2026-01-31/12-00-00-Reach-1a2b randomization=light
  embodied evaluate policy=runs/2026-01-31/12-00-00-diffusionvla-1a2b tasks=[metaworld/drawer-open] episodes=20
"""


def run(arguments: list[str]) -> int:
    """Runs the command."""
    from embodied.commands.compose import run_composed

    return run_composed("evaluate", arguments, execute)


def execute(composed) -> int:
    """Runs one composed configuration."""
    from embodied.core.errors import ConfigError

    if (composed.config["run"] is None) == (composed.config["policy"] is None):
        raise ConfigError("give either run=<run folder of train> or policy=<run folder of fit>")
    return _trained(composed) if composed.config["policy"] is None else _fitted(composed)


def _trained(composed) -> int:
    """A policy of reinforcement learning, on the task that it learned."""
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


def _fitted(composed) -> int:
    """A vision-language-action policy, on any tasks of its robot."""
    from embodied.core.errors import ConfigError
    from embodied.core.files import append_jsonl
    from embodied.policies.trial import Film, check_fit, film_mp4, try_out
    from embodied.policies.vla_policy import VLAPolicy
    from embodied.rl.job import EVALUATE_SEED
    from embodied.rl.writing import make_task

    config = composed.config
    if not config["tasks"]:
        raise ConfigError("policy= is tried on tasks: give tasks=[metaworld/drawer-open, ...]")
    folder = Path(config["policy"])
    folder = folder / "policy" if (folder / "policy").is_dir() else folder
    settings = {"think_every": config["think_every"], "trusted_packages": composed.trusted_packages}
    policy = VLAPolicy.load(folder, **settings)
    tasks = [make_task(name, composed.trusted_packages) for name in config["tasks"]]
    for task in tasks:
        check_fit(task, policy)
    total = []
    for task in tasks:
        film = Film() if config["video"] else None
        found = try_out(
            task,
            policy,
            episodes=int(config["episodes"]),
            seed=EVALUATE_SEED + int(config["seed"]),
            instruction=config["instruction"],
            episode_steps=config["episode_steps"],
            film=film,
        )
        total += found.success.tolist()
        row = {"task": task.name, "instruction": config["instruction"] or task.instruction, **found.to_json()}
        append_jsonl(folder.parent / "evaluations.jsonl", row)
        print(f"{task.name}: success {row['rate']:.1%} [{row['low']:.1%}, {row['high']:.1%}]", flush=True)
        if film is not None:
            path = folder.parent / "videos" / f"{task.name.replace('/', '-')}.mp4"
            film_mp4(film, path, policy.architecture.fps)
            print(f"  video: {path}")
    from embodied.core.stats import wilson_interval

    low, high = wilson_interval(sum(total), len(total))
    overall = {"tasks": len(tasks), "rate": sum(total) / len(total), "low": low, "high": high, "episodes": len(total)}
    print(f"all: success {overall['rate']:.1%} [{low:.1%}, {high:.1%}] over {len(total)} episodes")
    if (folder.parent / "metrics.jsonl").exists():
        from embodied.policies.fit_report import write_fit_report

        print(f"report: {write_fit_report(folder.parent)}")
    print(json.dumps(overall))
    return 0
