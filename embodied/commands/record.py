"""`embodied record`: an expert's demonstrations become a dataset."""

from __future__ import annotations

from pathlib import Path

HELP = """embodied record robot=<name> teleop=leader|keyboard|gamepad dataset=<folder> instruction="..." [port=... ...]
       embodied record tasks=[<task>, ...] dataset=<folder> [key=value ...]

An expert acts in simulation; what the robot saw, sensed, did and said becomes a dataset in the LeRobot v3 layout, with
every quantity of the world beside it. A dataset that exists is continued; a killed recording loses the open episode.

  expert=scripted        the tasks' own experts, or expert=<run folder> of `embodied train`, whose policy then acts, or
                         of `embodied plan record=true`, whose episodes are taken as they were
  episodes=50            to keep, per task
  cameras=[front]  width=128  height=128
  noise=[0,0.1,0.3]      on what is executed; what is recorded as action stays right
  seed=0

With robot=, a person moves a real arm, or its twin (transport=twin); the keys are those of `embodied robot teleop`.

examples:
  embodied record tasks=[metaworld/drawer-open,metaworld/drawer-close] dataset=datasets/drawer episodes=30
  embodied record tasks=[reach] expert=runs/<day>/<run> dataset=datasets/reach
"""


def run(arguments: list[str]) -> int:
    """Runs the command."""
    named = [word.partition("=")[2] for word in arguments if word.startswith("robot=")]
    if named:
        return _from_robot(named[0], [word for word in arguments if not word.startswith("robot=")])
    from embodied.commands.compose import run_composed

    return run_composed("record", arguments, execute)


def _from_robot(name: str, rest: list[str]) -> int:
    """A demonstration by hand: `embodied robot teleop` into a dataset."""
    from embodied.commands.robot import run as robot
    from embodied.commands.teleop import ways
    from embodied.core.errors import ConfigError, UnknownNameError

    given = [word.partition("=")[2] for word in rest if word.startswith("teleop=")]
    if len(given) != 1 or given[0] not in ways():
        raise UnknownNameError("way to teleoperate", given[0] if given else "", ways(), "teleop=")
    if not any(word.startswith("dataset=") for word in rest):
        raise ConfigError("where to? dataset=<folder>")
    words = (word for word in rest if not word.startswith("teleop="))
    return robot(["teleop", name, f"with={given[0]}", *words])


def execute(composed) -> int:
    """Runs one composed configuration."""
    from embodied.commands.progress import EpisodeProgress
    from embodied.core.errors import ConfigError
    from embodied.data.writer import DatasetWriter
    from embodied.policies import demonstrations
    from embodied.rl.writing import make_task
    from embodied.sim.cameras import Cameras

    config = composed.config
    if not config["tasks"]:
        raise ConfigError("tasks=[] is empty: name at least one, as in tasks=[metaworld/drawer-open]")
    tasks = [make_task(name, composed.trusted_packages) for name in config["tasks"]]
    sizes = config["cameras"], config["height"], config["width"]
    rates = {demonstrations.frames_per_second(task) for task in tasks}
    features = [demonstrations.features(task, *sizes) for task in tasks]
    if len(rates) != 1 or any(found != features[0] for found in features):
        raise ConfigError(
            "tasks of one dataset need one robot: the same state, action and rate; record these into several datasets"
        )
    experts = [_expert(config, task) for task in tasks]
    folder = Path(config["dataset"])
    with EpisodeProgress() as progress:
        for task, expert in zip(tasks, experts, strict=True):
            writer = DatasetWriter(folder, features=features[0], fps=rates.copy().pop(), robot_type=task.robot)
            with writer, Cameras(task, *sizes) as cameras:
                kept, played = demonstrations.record(
                    task,
                    expert,
                    writer,
                    episodes=config["episodes"],
                    seed=config["seed"],
                    cameras=cameras,
                    keep_failures=config["keep_failures"],
                    progress=progress.of(task.name, config["episodes"]),
                )
            progress.say(f"{task.name}: {kept} episodes kept of {played} played")
    print(f"dataset: {folder}")
    return 0


def _expert(config, task):
    """The episodes of whoever demonstrates the task."""
    from embodied.core.errors import CheckpointError, ConfigError
    from embodied.core.runs import RunFolder
    from embodied.data.episode import load_episode
    from embodied.policies.demonstrations import attempts, planned
    from embodied.rl.job import policy_actor
    from embodied.rl.policy import MLPPolicy
    from embodied.sim.actors import expert_actor

    name, how = config["expert"], {"seed": config["seed"], "noise": config["noise"]}
    if name == "scripted":
        if not task.has_expert:
            raise ConfigError(f"task '{task.name}' has no scripted expert: give expert=<run folder of train or plan>")
        return attempts(task, lambda n: expert_actor(task, n), **how)
    folder = RunFolder.open(Path(name))
    if (folder / "episodes").is_dir():
        return (planned(task, load_episode(path)) for path in sorted((folder / "episodes").iterdir()))
    policy = MLPPolicy.load(folder / "policy")
    if policy.task != task.name:
        raise CheckpointError(f"{name} was trained on task '{policy.task}', not '{task.name}'")
    return attempts(task, lambda n: policy_actor(policy), **how)
