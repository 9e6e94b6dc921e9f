"""Human feedback rounds: a finished run, what a person saw and what they want changed, lead to the next program.

Text2Reward (Xie et al. 2024, arXiv:2309.11489), interactive generation: the whole history of (program, description,
feedback) goes to the model. Deviation: the description may be left to us; it then states the measured success.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embodied.core.errors import ConfigError
from embodied.core.files import read_json, write_json
from embodied.core.reward import RewardProgram
from embodied.core.runs import RunFolder
from embodied.core.writer import Feedback

FEEDBACK, PROGRAM = "feedback.json", "program.json"


def round_folder(run: RunFolder, number: int) -> Path:
    """Where the program of a round lies; `number` is how many feedbacks came before it."""
    return run / "reward" / f"round_{number}"


def last_round(run: RunFolder) -> Path:
    """The folder of the run's newest program.

    Raises:
        ConfigError: the run has no program.
    """
    folders = sorted((run / "reward").glob("round_*"), key=lambda p: int(p.name.partition("_")[2]))
    finished = [folder for folder in folders if (folder / PROGRAM).is_file()]
    if not finished:
        raise ConfigError(f"run {run.path} has no reward program; a parent must be a run of `embodied train`")
    return finished[-1]


def open_rounds(config: Mapping[str, Any], run: RunFolder, task_name: str) -> tuple[Feedback, ...]:
    """The earlier rounds that the next program answers to, oldest first; kept in the run folder for a resume.

    Args:
        config: `parent` (a run folder), `feedback` (what shall change), `observed` (what the robot did, or None).
        run: the new run's folder.
        task_name: the new run's task; the parent's must be the same.

    Raises:
        ConfigError: only one of `parent` and `feedback`, or a parent that cannot be one.
    """
    parent, request = config.get("parent"), config.get("feedback")
    kept = _kept(run)
    if kept or not (parent or request):
        return kept
    if not parent or not str(request or "").strip():
        raise ConfigError('a feedback round needs both: parent=<run folder> feedback="what should change"')
    before = RunFolder.open(Path(parent))
    folder = last_round(before)
    program = RewardProgram.from_json(read_json(folder / PROGRAM))
    if program.task != task_name:
        raise ConfigError(
            f"parent {parent} was trained on task '{program.task}', not '{task_name}': add task={program.task}"
        )
    description = str(config.get("observed") or "").strip() or _measured(before)
    rounds = (*_kept(before), Feedback(program, description, str(request).strip()))
    for number, one in enumerate(rounds):
        row = {"program": one.program.to_json(), "description": one.description, "request": one.request}
        write_json(round_folder(run, number) / FEEDBACK, {**row, "parent": str(before.path)})
    return rounds


def _kept(run: RunFolder) -> tuple[Feedback, ...]:
    """The rounds that a run folder holds."""
    rows: list[dict[str, Any]] = []
    while (path := round_folder(run, len(rows)) / FEEDBACK).is_file():
        rows.append(read_json(path))
    return tuple(Feedback(RewardProgram.from_json(r["program"]), r["description"], r["request"]) for r in rows)


def _measured(run: RunFolder) -> str:
    """What a finished run measured, in a sentence."""
    success = (run.result or {}).get("success")
    if success is None:
        raise ConfigError(f'parent {run.path} is not finished; say what the robot did: observed="..."')
    return f"The task was done in {success['rate']:.0%} of {success['episodes']} episodes; nobody described the motion."
