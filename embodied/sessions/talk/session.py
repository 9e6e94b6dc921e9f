"""The talk itself: a sentence is asked about, becomes a program, moves the robot; all of it is in a ledger first.

No face is here: a terminal, a page and a script call the same few methods and look at the same `view`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from embodied.core.errors import ConfigError, EmbodiedError, RewardCodeError
from embodied.core.files import append_jsonl, read_jsonl, write_bytes, write_json, write_text
from embodied.core.reward import RewardProgram
from embodied.core.runs import RunFolder
from embodied.core.writer import RewardWriter, TaskDescription
from embodied.sessions.talk.stage import Stage
from embodied.sessions.talk.state import TalkState, Turn

LEDGER, STATE = "talk.jsonl", "checkpoints/state.npz"
MAX_SENTENCE = 4000
Film = Callable[[Stage, float], bytes]


class Body(Protocol):
    """What carries a program into motion: real time, or step by step for scripts."""

    def follow(self, program: RewardProgram, seed: int) -> float:
        """Lets the robot follow a program; gives the seconds until its first action."""
        ...

    def rest(self) -> None:
        """Follows nothing."""
        ...


@dataclass
class TalkSession:
    """One talk with one robot.

    Args:
        folder: the run folder, with or without a ledger from before.
        stage: the robot.
        description: what the writer may know of the robot's task.
        writer: turns sentences into programs; earlier ones reach it as feedback rounds.
        seed: root of the planners' seeds.
        film: draws the last seconds of a stage as a film (mp4); None where nothing can be drawn.
    """

    folder: RunFolder
    stage: Stage
    description: TaskDescription
    writer: RewardWriter
    seed: int = 0
    film: Film | None = None

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self.state = TalkState.of(read_jsonl(self.folder / LEDGER))
        self._body: Body | None = None
        if self.state.asking:
            self._write(kind="fault", id=self.state.asking["id"], message="interrupted: say it again")

    def attach(self, body: Body) -> None:
        """Gives the talk its body; a talk that goes on moves at once.

        Raises:
            RewardCodeError: the program that held before does not run any more.
        """
        self._body = body
        if self.state.program is not None:
            body.follow(self.state.program, self._seed())

    def restore(self) -> bool:
        """Takes the robot's state from the run folder; says whether there was one.

        Raises:
            CheckpointError: it is damaged or of another robot.
        """
        path = self.folder / STATE
        if path.is_file():
            self.stage.load(path)
        return path.is_file()

    # ---- what a person does

    def say(self, text: str, request: str) -> Turn | None:
        """Asks the writer and lets the robot follow its answer.

        Args:
            text: what the person said.
            request: the request's id; one that was seen before is not acted upon again.

        Returns:
            The new turn; None when it was seen before or taken back meanwhile.

        Raises:
            RewardCodeError: no program came of it; the robot goes on as before.
            ChatModelError: the language model gave no answer.
            ConfigError: there is no sentence, or one waits for its answer.
        """
        text = " ".join(text.split())
        if not text or len(text) > MAX_SENTENCE:
            raise ConfigError(f"a sentence has 1 to {MAX_SENTENCE} characters, got {len(text)}")
        with self._lock:
            if request in self.state.seen:
                return None
            if self.state.asking:
                raise ConfigError("the language model is at work: wait for its answer, or undo")
            history = self.state.history()
            self._write(kind="say", id=request, text=text, t_s=self.stage.t_s)
        begin = time.perf_counter()
        try:
            program = self._ask(text, history)
        except EmbodiedError as error:
            self._write(kind="fault", id=request, message=str(error))
            raise
        with self._lock:
            if not self.state.asking or self.state.asking["id"] != request:
                return None  # taken back while the model was at work
            self._write(kind="answer", id=request, program=program.to_json(), asked_s=time.perf_counter() - begin)
            turn = self.state.turns[-1]
        self._keep(turn)
        self._move(turn)
        return turn

    def undo(self, request: str) -> bool:
        """Takes back the sentence that waits for its answer, else the last program; says whether there was one."""
        with self._lock:
            if request in self.state.seen or not (self.state.asking or self.state.turns):
                return False
            waited = self.state.asking is not None
            self._write(kind="undo", id=request)
            now = self.state.turns[-1] if self.state.turns else None
        if waited or self._body is None:
            return True
        if now is None:
            self._body.rest()
        else:
            self._body.follow(now.program, self._seed())
        return True

    def save(self, request: str, last_s: float = 20.0) -> dict[str, str]:
        """Keeps what was seen: a film, the episode, the program; gives the files by kind.

        Raises:
            ConfigError: nothing was said yet.
        """
        with self._lock:
            if request in self.state.seen:
                return next((row["files"] for row in self.state.saved if row["id"] == request), {})
            if not self.state.turns:
                raise ConfigError("there is nothing to keep before the robot moves: say something first")
            program = self.state.turns[-1].program
        name = f"saved/{len(self.state.saved):03d}"
        said = "; ".join(turn.text for turn in self.state.turns)
        episode = replace(
            self.stage.seen(last_s),
            instruction=said,
            source={"planner": True, "program_sha256": program.sha256, "writer": program.writer},
        )
        episode.save(self.folder / f"{name}/episode")
        write_json(self.folder / f"{name}/program.json", program.to_json())
        files = {"episode": f"{name}/episode", "program": f"{name}/program.json"}
        if self.film is not None:
            write_bytes(self.folder / f"{name}/video.mp4", self.film(self.stage, last_s))
            files["video"] = f"{name}/video.mp4"
        self._write(kind="saved", id=request, files=files)
        return files

    # ---- what happens by itself

    def note(self, message: str) -> None:
        """Writes down something that a person should know."""
        self._write(kind="note", message=message)

    def failed(self, program: RewardProgram, message: str) -> None:
        """A program could not go on: its turn is taken back, the robot rests until something is said."""
        with self._lock:
            turn = next((t for t in self.state.turns if t.program.sha256 == program.sha256), None)
            self._write(kind="fault", id=turn.id if turn else "", message=message)

    def checkpoint(self) -> None:
        """Keeps the robot's state, for `restore`."""
        self.stage.save(self.folder / STATE)

    def view(self) -> dict[str, Any]:
        """What a face shows, in plain values."""
        with self._lock:
            state = self.state
            return {
                "phase": state.phase,
                "asking": state.asking["text"] if state.asking else "",
                "message": state.message,
                "t_s": self.stage.t_s,
                "readings": self.stage.readings(),
                "turns": [_shown(turn) for turn in state.turns],
                "saved": list(state.saved),
            }

    # ---- inside

    def _ask(self, text: str, history: tuple) -> RewardProgram:
        if history:
            history = (*history[:-1], replace(history[-1], request=text))
        description = replace(self.description, instruction=self.state.turns[0].text if history else text)
        return self.writer.propose(description, history, n=1)[0]

    def _move(self, turn: Turn) -> None:
        if self._body is None:
            return
        try:
            swap_s = self._body.follow(turn.program, self._seed())
        except RewardCodeError as error:
            self._write(kind="fault", id=turn.id, message=str(error))
            raise
        self._write(kind="moving", id=turn.id, swap_s=swap_s)

    def _seed(self) -> int:
        return self.seed + self.state.count

    def _keep(self, turn: Turn) -> None:
        folder = self.folder / "reward" / f"round_{self.state.count - 1}"
        write_text(folder / "program.py", turn.program.source)
        write_json(folder / "program.json", turn.program.to_json())

    def _write(self, **row: Any) -> None:
        with self._lock:
            append_jsonl(self.folder / LEDGER, row)
            self.state.apply(row)


def _shown(turn: Turn) -> Mapping[str, Any]:
    came = turn.program.provenance
    return {
        "id": turn.id,
        "text": turn.text,
        "t_s": turn.t_s,
        "writer": turn.program.writer,
        "description": str(came.get("description", "")),
        "code": str(came.get("code", "")) or turn.program.source,
        "repairs": int(came.get("repairs", 0) or 0),
    }


def ledger_rows(folder: Path) -> list[dict[str, Any]]:
    """The whole ledger of a run folder."""
    rows: list[dict[str, Any]] = []
    with suppress(OSError):
        rows = list(read_jsonl(Path(folder) / LEDGER))
    return rows
