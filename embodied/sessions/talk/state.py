"""What a talk is made of, as a fold over its ledger: the same rows always give the same state.

The ledger is `talk.jsonl` in the run folder. Its rows, by `kind`:
    say      a person's sentence was taken: `id`, `text`, `t_s`
    answer   it became a program: `id`, `program` (JSON), `asked_s`, `repairs`
    fault    it did not: `id`, `message`
    undo     the last program was taken back: `id`
    moving   its program acts: `id`, `swap_s`
    note     something else that a person should know: `message`
    saved    what was seen was kept: `id`, `files`
`t_s` is the simulated time. Ids come from whoever asks, so that a request sent twice is acted upon once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from embodied.core.reward import RewardProgram
from embodied.core.writer import Feedback

IDLE, ASKING, MOVING = "idle", "asking", "moving"


@dataclass(frozen=True)
class Turn:
    """One sentence and the program that it became.

    Attributes:
        id: the request's id.
        text: what the person said.
        program: what the planner follows.
        t_s: simulated time at which it was said.
    """

    id: str
    text: str
    program: RewardProgram
    t_s: float


@dataclass
class TalkState:
    """The state of a talk.

    Attributes:
        turns: what was said and holds, oldest first; undone turns are gone.
        asking: the sentence that waits for its answer: `{"id", "text", "t_s"}`, or None.
        message: the last fault or note; empty after a success.
        seen: ids of all requests so far.
        saved: what was kept, newest last.
        count: number of programs that ever acted: seeds the planner of the next one.
    """

    turns: list[Turn] = field(default_factory=list)
    asking: dict[str, Any] | None = None
    message: str = ""
    seen: set[str] = field(default_factory=set)
    saved: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0

    @staticmethod
    def of(rows: Iterable[Mapping[str, Any]]) -> TalkState:
        """The state that a ledger leads to."""
        state = TalkState()
        for row in rows:
            state.apply(row)
        return state

    @property
    def phase(self) -> str:
        """`asking` while a model is at work, else `moving` once something holds, else `idle`."""
        return ASKING if self.asking else MOVING if self.turns else IDLE

    @property
    def program(self) -> RewardProgram | None:
        """What the robot shall do now."""
        return self.turns[-1].program if self.turns else None

    def history(self) -> tuple[Feedback, ...]:
        """The rounds before the next sentence, for a writer; the last one's `request` is still to be said."""
        later = [*(turn.text for turn in self.turns[1:]), ""]
        return tuple(Feedback(turn.program, "", later[i]) for i, turn in enumerate(self.turns))

    def apply(self, row: Mapping[str, Any]) -> None:
        """Takes in one row of the ledger; unknown kinds change nothing."""
        kind, request = row["kind"], row.get("id", "")
        if request:
            self.seen.add(request)
        if kind == "say":
            self.asking, self.message = {"id": request, "text": row["text"], "t_s": row["t_s"]}, ""
        elif kind == "answer" and self.asking and self.asking["id"] == request:
            program = RewardProgram.from_json(row["program"])
            self.turns.append(Turn(request, self.asking["text"], program, self.asking["t_s"]))
            self.asking, self.count = None, self.count + 1
        elif kind == "fault":
            if self.asking and self.asking["id"] == request:
                self.asking = None
            elif self.turns and self.turns[-1].id == request:  # it was written, and failed while it ran
                self.turns.pop()
            self.message = row["message"]
        elif kind == "undo":
            if self.asking:
                self.asking = None
            elif self.turns:
                self.turns.pop()
                self.count += 1
            self.message = ""
        elif kind == "note":
            self.message = row["message"]
        elif kind == "saved":
            self.saved.append({"id": request, "files": dict(row["files"])})
