"""The reward-writer contract: from a task's description and the feedback so far to reward programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from embodied.core.chat import ChatModel
from embodied.core.quantities import Schema
from embodied.core.reward import RewardProgram


@dataclass(frozen=True)
class TaskDescription:
    """What a writer may know: no simulator, no source code, no ground truth.

    Attributes:
        name: the task's name.
        instruction: what the robot shall do.
        schema: the readable quantities.
        action_size: length A of an action; components lie in [-1, 1].
        action_description: what the components do.
        control_dt_s: time between two actions [s].
        episode_steps: actions per episode.
        morphology: which motion API fits the robot, such as `quadruped`; empty for none.
    """

    name: str
    instruction: str
    schema: Schema
    action_size: int
    action_description: str
    control_dt_s: float
    episode_steps: int
    morphology: str = ""


@dataclass(frozen=True)
class Feedback:
    """One earlier round: the program, what it led to, and what a person wants changed."""

    program: RewardProgram
    description: str
    request: str


@dataclass(frozen=True)
class Check:
    """What became of a program that was checked, and tried under a lock.

    Attributes:
        verdict: `rejected_static`, `error_reported`, `contained_runtime` or `accepted`.
        message: what is wrong, for a person and for the model; empty when accepted.
        line: 1-based line of the source, where known.
        evaluation: `batched` once proven equal to row by row, else `by_row`.
        note: why an accepted program runs row by row.
        us_per_row: cost of one state, evaluated alone [us].
        screen: the screen's report (see `embodied.rewards.screen`), or None when the program was not run.
    """

    verdict: str
    message: str = ""
    line: int | None = None
    evaluation: str = "by_row"
    note: str = ""
    us_per_row: float = 0.0
    screen: Mapping[str, Any] | None = None

    @property
    def located_message(self) -> str:
        """The message with its line."""
        return f"line {self.line}: {self.message}" if self.line is not None else self.message

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "verdict": self.verdict,
            "message": self.message,
            "line": self.line,
            "evaluation": self.evaluation,
            "note": self.note,
            "us_per_row": round(self.us_per_row, 2),
            "screen": None if self.screen is None else dict(self.screen),
        }


@dataclass(frozen=True)
class LibraryEntry:
    """One reviewed program of ours with the instruction it was written for."""

    instruction: str
    program: RewardProgram

    @property
    def suite(self) -> str:
        """The suite of the program's task; only tasks of one suite share their quantities."""
        return suite(self.program.task)


def suite(task_name: str) -> str:
    """What stands before the slash of a task's name, e.g. `metaworld`; empty for our own tasks."""
    return task_name.rpartition("/")[0]


@dataclass
class WriterTools:
    """What wiring hands to every writer; a writer takes what it needs.

    Attributes:
        chat: makes the language model, at the first need of it.
        check: checks a program and tries it under a lock.
        library: gives the reviewed expert programs.
        attempts: every answer of a model and what became of it, appended by the writer (for the report).
    """

    chat: Callable[[], ChatModel]
    check: Callable[[RewardProgram], Check]
    library: Callable[[], Sequence[LibraryEntry]]
    attempts: list[Any] = field(default_factory=list)


@runtime_checkable
class RewardWriter(Protocol):
    """Text2Reward, Language to Rewards, ICPL, the library, a file: what consumes programs never asks which."""

    def propose(
        self, description: TaskDescription, feedback_history: Sequence[Feedback] = (), n: int = 1
    ) -> list[RewardProgram]:
        """Gives up to n programs, best guess first; raises `RewardCodeError` or `ChatModelError` for none."""
        ...
