"""The library: our expert reward programs, found by what the instruction says. Retrieval, not a language model.

The nearest instruction by sentence embedding is taken, unless its verb means the opposite ("open" and "close" lie
0.90 apart in cosine similarity, so the embedding alone cannot tell them apart), and refused below a threshold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embodied.core.errors import ConfigError, RewardCodeError
from embodied.core.reward import RewardProgram
from embodied.core.writer import Feedback, LibraryEntry, TaskDescription, WriterTools, suite
from embodied.llm.embed import UNRELATED_BELOW, nearest

_OPPOSITES = (
    ({"open", "pull", "slide out", "unlock"}, {"close", "shut", "push in", "push the drawer", "lock"}),
    ({"lift", "raise", "pick", "grasp", "stand"}, {"lower", "drop", "put down", "release", "lie"}),
    ({"press", "push down"}, {"release"}),
    ({"turn on"}, {"turn off"}),
    ({"forward", "forwards"}, {"backward", "backwards"}),
)


class Library:
    """A `RewardWriter` over known programs.

    Args:
        tools: the library is taken from here.
        min_similarity: cosine similarity below which nothing is given.
    """

    def __init__(self, tools: WriterTools, *, min_similarity: float = UNRELATED_BELOW) -> None:
        if not 0.0 <= min_similarity <= 1.0:
            raise ConfigError(f"min_similarity={min_similarity} must lie in [0, 1]")
        self.tools, self.min_similarity = tools, min_similarity

    def propose(
        self, description: TaskDescription, feedback_history: Sequence[Feedback] = (), n: int = 1
    ) -> list[RewardProgram]:
        """The nearest program whose verb does not contradict the instruction.

        Raises:
            RewardCodeError: nothing is near enough, or what is nearest belongs to another world.
        """
        ranked = self.rank(description.instruction, suite(description.name))
        if not ranked or ranked[0][1] < self.min_similarity:
            best = f"; nearest: '{ranked[0][0].instruction}' ({ranked[0][1]:.2f})" if ranked else ""
            raise RewardCodeError(
                f"the library has no program for '{description.instruction}' (similarity below"
                f" {self.min_similarity:.2f}{best}). Use a language model: llm=openai, llm=local or llm=manual"
            )
        entry, similarity = ranked[0]
        if entry.program.task != description.name:
            raise RewardCodeError(
                f"the nearest library program ('{entry.instruction}', similarity {similarity:.2f}) is for task"
                f" '{entry.program.task}', not '{description.name}'. Run it with task={entry.program.task}"
            )
        provenance = {
            **entry.program.provenance,
            "came_by": "retrieval from the expert library, not a language model",
            "similarity": round(similarity, 4),
            "matched_instruction": entry.instruction,
        }
        return [replace(entry.program, writer="library", provenance=provenance)]

    def rank(self, instruction: str, of_suite: str = "") -> list[tuple[LibraryEntry, float]]:
        """A suite's entries by similarity to an instruction, without those with the opposite verb, best first."""
        entries = [e for e in self.tools.library() if e.suite == of_suite]
        candidates = [e for e in entries if not opposite(instruction, e.instruction)]
        found = nearest(instruction, [e.instruction for e in candidates])
        return [(candidates[i], similarity) for i, similarity in found]


def opposite(left: str, right: str) -> bool:
    """Whether two instructions contain opposite verbs: 'open the drawer' and 'close the drawer'."""
    return any(
        (_says(left, a) and _says(right, b) and not _says(left, b) and not _says(right, a))
        or (_says(left, b) and _says(right, a) and not _says(left, a) and not _says(right, b))
        for a, b in _OPPOSITES
    )


def _says(text: str, phrases: set[str]) -> bool:
    """Whether a text has one of the phrases, in any form of its verb: closed, closes, closing."""
    stems = (re.escape(phrase.removesuffix("e")) for phrase in phrases)
    return any(re.search(rf"\b{stem}(e|es|ed|ing|s|d|ting|ping)?\b", text.lower()) for stem in stems)


class Expert:
    """A `RewardWriter` that gives the task's own expert reward: the reference, hand-written by us.

    Args:
        tools: the library is taken from here.
    """

    def __init__(self, tools: WriterTools) -> None:
        self.tools = tools

    def propose(
        self, description: TaskDescription, feedback_history: Sequence[Feedback] = (), n: int = 1
    ) -> list[RewardProgram]:
        """The expert reward of the described task."""
        found = [e.program for e in self.tools.library() if e.program.task == description.name]
        if not found:
            raise RewardCodeError(f"task '{description.name}' has no expert reward")
        return found


class FromFile:
    """A `RewardWriter` that gives a program from a file, checked like any model's answer.

    Args:
        tools: the checker is taken from here.
        path: Python file with `reward(world, action)` or `compute_dense_reward(self, action)`.
    """

    def __init__(self, tools: WriterTools, *, path: str) -> None:
        self.tools, self.path = tools, Path(path)

    def propose(
        self, description: TaskDescription, feedback_history: Sequence[Feedback] = (), n: int = 1
    ) -> list[RewardProgram]:
        """The program of the file.

        Raises:
            RewardCodeError: the program does not pass the check.
        """
        try:
            source = self.path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"reward.path={self.path} cannot be read: {error}") from None
        program = RewardProgram(source, "person", description.name, provenance={"came_by": f"file {self.path.name}"})
        check = self.tools.check(program)
        if check.verdict != "accepted":
            raise RewardCodeError(check.message, check.line)
        return [program.with_evaluation(check.evaluation)]
