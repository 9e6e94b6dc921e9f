"""A talk from a file, step by step: nothing depends on the clock, so that a talk repeats and goes on bit by bit.

A line is a sentence; `/undo`, `/save` and `/wait <seconds>` stand alone; `#` begins a remark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from embodied.control.locked import LockedPlanner
from embodied.control.planner import Plan
from embodied.core.errors import ChatModelError, ConfigError, RewardCodeError
from embodied.core.files import append_jsonl
from embodied.core.reward import RewardProgram
from embodied.sessions.talk.pool import PlannerPool
from embodied.sessions.talk.session import LEDGER, TalkSession, ledger_rows
from embodied.sessions.talk.stage import Stage

SAMPLE_S = 0.1


@dataclass(frozen=True)
class Line:
    """One line of a script: `kind` is `say`, `undo`, `save` or `wait`."""

    kind: str
    text: str = ""
    seconds: float = 0.0


def parse_script(text: str, seconds: float) -> list[Line]:
    """The lines of a script; every sentence is given `seconds` of simulated time.

    Raises:
        ConfigError: an unknown command or no line at all; names the line.
    """
    lines = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        if not line.startswith("/"):
            lines.append(Line("say", line, seconds))
            continue
        word, _, rest = line[1:].partition(" ")
        if word in ("undo", "save") and not rest.strip():
            lines.append(Line(word, seconds=seconds if word == "undo" else 0.0))
            continue
        try:
            wait_s = float(rest) if word == "wait" else 0.0
        except ValueError:
            wait_s = 0.0
        if not 0.0 < wait_s <= 600.0:
            raise ConfigError(f"script line {number}: '{line}' is not /undo, /save or /wait <seconds up to 600>")
        lines.append(Line("wait", seconds=wait_s))
    if not lines:
        raise ConfigError("the script says nothing: write one sentence a line")
    return lines


class LockstepBody:
    """Plans, steps, plans, steps.

    Args:
        stage: the robot.
        pool: gives planners.
        replan_every: control steps that follow one plan.
    """

    def __init__(self, stage: Stage, pool: PlannerPool, *, replan_every: int = 1) -> None:
        self.stage, self.pool, self.replan_every = stage, pool, replan_every
        self._planner: LockedPlanner | None = None

    def follow(self, program: RewardProgram, seed: int) -> float:
        """Takes a planner for the program."""
        planner = self.pool.take(program, seed, self.stage.now.edits)
        self.rest()
        self._planner = planner
        self.pool.fill()
        return 0.0

    def rest(self) -> None:
        """Follows nothing."""
        if self._planner is not None:
            self._planner.close()
            self._planner = None

    def play(self, seconds: float) -> list[dict[str, Any]]:
        """Lets simulated time pass; gives rows `{"t_s", "terms"}` every tenth of a second.

        Raises:
            RewardCodeError: the program failed on a state.
        """
        rows: list[dict[str, Any]] = []
        dt_s, plan = self.stage.task.control_dt_s, None
        every = max(1, round(SAMPLE_S / dt_s))
        for step in range(round(seconds / dt_s)):
            if self._planner is not None and step % self.replan_every == 0:
                plan = self._planner.plan(self.stage.now, self.stage.t0)
            self.stage.step(plan)
            if step % every == 0:
                rows.append(self._row(plan))
        return rows

    def _row(self, plan: Plan | None) -> dict[str, Any]:
        return {"t_s": self.stage.t_s, "terms": dict(plan.terms) if plan is not None else {}}


def run_script(
    session: TalkSession,
    body: LockstepBody,
    lines: Sequence[Line],
    *,
    on_line: Callable[[int, Line, str], None] = lambda index, line, outcome: None,
) -> list[dict[str, Any]]:
    """Plays the lines that this talk has not played yet.

    A sentence that no answer came of is reported, and the robot goes on as before.

    Args:
        session: the talk; `restore` and `attach` were called.
        body: its body.
        lines: the script.
        on_line: told what became of each line.

    Returns:
        A row a line: `{"index", "kind", "text", "outcome", "t_s", "seconds", "track"}`.
    """
    played = {row["id"]: row for row in ledger_rows(session.folder.path) if row["kind"] == "played"}
    rows = []
    for index, line in enumerate(lines):
        request = f"line-{index}"
        if request in played:
            rows.append(played[request]["row"])
            continue
        begin_s, outcome = session.stage.t_s, _do(session, line, request)
        on_line(index, line, outcome)
        track: list[dict[str, Any]] = []
        try:
            track = body.play(line.seconds)
        except RewardCodeError as error:
            outcome = f"stopped: {error}"
            body.rest()
            if session.state.program is not None:
                session.failed(session.state.program, str(error))
        row = {
            "index": index,
            "kind": line.kind,
            "text": line.text,
            "outcome": outcome,
            "t_s": begin_s,
            "seconds": line.seconds,
            "track": track,
        }
        session.checkpoint()
        append_jsonl(session.folder / LEDGER, {"kind": "played", "id": request, "row": row})
        rows.append(row)
    return rows


def _do(session: TalkSession, line: Line, request: str) -> str:
    if line.kind == "say":
        if request in session.state.seen:  # said before the interruption
            return "moving"
        try:
            session.say(line.text, request)
        except (RewardCodeError, ChatModelError) as error:
            return f"no program: {error}"
        return "moving"
    if line.kind == "undo":
        return "undone" if session.undo(request) else "nothing to undo"
    if line.kind == "save":
        return ", ".join(session.save(request).values())
    return "waiting"
