"""`embodied watch`: film a policy or a task's expert, or show it in a window."""

from __future__ import annotations

from pathlib import Path

HELP = """embodied watch run=<run folder> | task=<name> [key=value ...]

Plays fresh episodes and writes an mp4 (or opens MuJoCo's viewer with window=true).

  episodes=3  seed=0  camera=<name>  width=640 height=480  output=<file.mp4>  window=true

examples:
  embodied watch run=runs/2026-01-31/12-00-00-Reach-1a2b
  embodied watch task=open_drawer output=expert.mp4
"""
WATCH_SEED = 50_000_000


def run(arguments: list[str]) -> int:
    """Runs the command; `embodied watch <folder>` is short for `run=<folder>`."""
    from embodied.commands.compose import run_composed

    words = [f"run={a}" if "=" not in a and not a.startswith("-") and Path(a).is_dir() else a for a in arguments]
    return run_composed("watch", words, execute)


def execute(composed) -> int:
    """Runs one composed configuration."""
    from embodied.core.files import write_bytes
    from embodied.rl.film import film

    config = composed.config
    task, actor, default = _player(config, composed.trusted_packages)
    seed = WATCH_SEED + int(config["seed"])
    if config["window"]:
        from embodied.rl.window import show

        show(task, actor, seed=seed, episodes=int(config["episodes"]))
        return 0
    data = film(
        task,
        actor,
        episodes=int(config["episodes"]),
        seed=seed,
        camera=config["camera"],
        width=int(config["width"]),
        height=int(config["height"]),
    )
    path = Path(config["output"] or default)
    write_bytes(path, data)
    print(f"film:    {path}")
    return 0


def _player(config: dict, trusted: tuple[str, ...]):
    """Task, actor and default output of a run's policy, or of a shipped task's expert."""
    from embodied.commands.compose import load_run_config
    from embodied.core.errors import ConfigError
    from embodied.core.runs import RunFolder
    from embodied.rl.job import policy_actor
    from embodied.rl.policy import MLPPolicy
    from embodied.rl.writing import make_task
    from embodied.sim.actors import expert_actor

    if config["run"]:
        folder = RunFolder.open(Path(config["run"]))
        task = make_task(load_run_config(folder.path)["task"], trusted)
        return task, policy_actor(MLPPolicy.load(folder / "policy")), folder / "videos" / "watch.mp4"
    if not config["task"]:
        raise ConfigError("watch what? Give run=<run folder> (see: embodied runs list) or task=<name>")
    task = make_task(config["task"], trusted)
    return task, expert_actor(task, 1), Path(f"{task.name}.mp4")
