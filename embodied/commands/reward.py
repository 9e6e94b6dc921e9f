"""`embodied reward check`: the verdict on a reward program, as one JSON line."""

from __future__ import annotations

import json
from pathlib import Path

HELP = """embodied reward check <file> [--task T] [--run]
embodied reward write [key=value ...]
embodied reward prompt --task T [--few-shot K]

`check` prints one JSON line: verdict (rejected_static | error_reported | contained_runtime | accepted), message, line.
With --run the program is also tried, under the lock, on recorded episodes of the task, and screened.
`write` takes the words of `embodied train`, and stops when the program is written, checked and screened.
`prompt` prints the exact prompt that a language model would get for a task.

examples:
  embodied reward check my_reward.py --task push_cube --run
  embodied reward write task=push_cube llm=openai llm.model=gpt-4o
  embodied reward prompt --task push_cube
"""


def run(arguments: list[str]) -> int:
    """Runs the command; exit code 0 for an accepted program, 1 for any other verdict."""
    import argparse

    from embodied.core.errors import ConfigError

    if arguments[:1] == ["write"]:
        from embodied.commands.compose import run_composed

        return run_composed("train", arguments[1:], _write)
    parser = argparse.ArgumentParser(prog="embodied reward", usage=HELP, add_help=False, exit_on_error=False)
    parser.add_argument("action", choices=["check", "prompt"])
    parser.add_argument("file", nargs="?")
    parser.add_argument("--task", default="reach")
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--few-shot", type=int, default=0)
    parser.add_argument("--instruction")
    try:
        given, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(f"reward: {error}. {HELP.splitlines()[0]}") from None
    if unknown:
        raise ConfigError(f"reward: unknown argument '{unknown[0]}'. {HELP.splitlines()[0]}")
    if given.action == "prompt":
        return _prompt(given)
    if not given.file:
        raise ConfigError("reward check needs a file: embodied reward check <file> [--task T] [--run]")
    return _check(Path(given.file), given.task, given.run)


def _write(composed) -> int:
    from embodied.core.errors import EmbodiedError
    from embodied.core.runs import RunFolder
    from embodied.rl.rounds import round_folder
    from embodied.rl.writing import Writing, make_task

    config = composed.config
    task = make_task(config["task"], composed.trusted_packages)
    folder = RunFolder.create(Path(config["runs_dir"]), f"reward-{task.name.replace('/', '-')}")
    folder.start(composed.yaml, composed.overrides, {"seed": config["seed"]})
    folder.lock()
    writing = Writing(config, folder, print, composed.trusted_packages, composed.searchpath)
    try:
        program, check = writing.program()
    except EmbodiedError:
        folder.discard_unbegun()
        raise
    written = {"writer": program.writer, "sha256": program.sha256, "evaluation": program.evaluation}
    folder.finish({"task": task.name, "instruction": writing.task.instruction, "reward": written})
    print(f"program: {round_folder(folder, len(writing.rounds)) / 'program.py'}")
    print(json.dumps({"task": task.name, "writer": program.writer, "sha256": program.sha256, **check.to_json()}))
    return 0


def _check(path: Path, task_name: str, try_it: bool) -> int:
    from embodied.core.errors import ConfigError
    from embodied.rewards.check import Checker
    from embodied.rewards.rollouts import record_rollouts
    from embodied.rl.writing import ROLLOUT_SEED, make_task

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    task = make_task(task_name)
    rollouts = record_rollouts(task, seed=ROLLOUT_SEED) if try_it else None
    verdict = Checker(task.schema, rollouts).check_text(data, task.name)
    print(json.dumps({"file": str(path), "task": task.name, **verdict.to_json()}))
    return 0 if verdict.verdict == "accepted" else 1


def _prompt(given) -> int:
    from embodied.core.writer import Check, WriterTools
    from embodied.rewards.text2reward import Text2Reward
    from embodied.rl.writing import make_task, shipped_library

    changes = {"instruction": given.instruction} if given.instruction else {}
    task = make_task(given.task, **changes)
    tools = WriterTools(chat=_no_model, check=lambda program: Check("accepted"), library=shipped_library)
    for message in Text2Reward(tools, few_shot=given.few_shot).prompt(task.description()):
        print(f"<<< {message.role} >>>\n{message.content}\n")
    return 0


def _no_model():
    raise AssertionError("showing a prompt asks no model")
