"""Recorded answers instead of a model: exact, offline, free.

`ReplayChat` finds a request by its hash and refuses whatever was not recorded. `SessionReplay` walks through
one recorded session of several rounds by position, where later prompts hold numbers measured on this machine
and so differ by a little: it writes the differences down instead of hiding them.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from embodied.core.assets import data_file
from embodied.core.chat import Completion, Message
from embodied.core.errors import ChatModelError, ConfigError
from embodied.core.files import write_text
from embodied.llm import checks
from embodied.llm.record import RecordedCall, read_calls, request_hash

NEXT_STEPS = (
    "Ask a model (llm=openai), answer by hand (llm=manual), or use a shipped program (reward=library)"
)


def shipped_records() -> Path:
    """The folder of the records that travel with the package."""
    return data_file("llm", "records")


class ReplayChat:
    """Answers each request from a folder of records, by the hash of the exact request."""

    def __init__(
        self, *, folder: str | Path | None = None, name: str | None = None, sample: int = 0
    ) -> None:
        """Reads the records.

        Args:
            folder: where the `*.jsonl` records lie; None for the shipped ones.
            name: take this record alone (`<name>.jsonl`); None for all of the folder.
            sample: which of several recorded answers to one request, by the label `sample` of its row (0 where
                there is none); a request without such an answer is given its first.

        Raises:
            ConfigError: the folder or the named record does not exist.
        """
        self.folder = Path(folder) if folder is not None else shipped_records()
        files = record_files(self.folder, name)
        self.calls = [call for file in files for call in read_calls(file)]
        self._by_hash: dict[str, RecordedCall] = {}
        for wanted in dict.fromkeys((0, sample)):
            for call in self.calls:  # a later row replaces an earlier one: re-recording needs no editing
                if call.sample == wanted:
                    self._by_hash[call.request_sha256] = call

    def __repr__(self) -> str:
        return f"ReplayChat(folder={str(self.folder)!r}, {len(self.calls)} recorded calls)"

    def complete(
        self, messages: Sequence[Message], n: int = 1, temperature: float = 0.0, max_tokens: int = 4096
    ) -> list[Completion]:
        """The recorded answers to exactly this request.

        Raises:
            ChatModelError: not recorded (the text names the closest recorded request), or the row is damaged.
        """
        checks.request(messages, n, temperature, max_tokens)
        wanted = request_hash(messages, n, temperature)
        call = self._by_hash.get(wanted)
        if call is None:
            raise ChatModelError(self._miss(wanted, messages, n, temperature))
        return call.completions()

    def _miss(self, wanted: str, messages: Sequence[Message], n: int, temperature: float) -> str:
        whole = [c for c in self.calls if c.row]
        text = (
            f"no recorded answer for the request {wanted} (n={n}, temperature={temperature}) among the"
            f" {len(self.calls)} calls in {self.folder}. "
        )
        if damaged := [c for c in self.calls if c.damage]:
            text += f"{len(damaged)} of them are damaged (first: {damaged[0].origin}: {damaged[0].damage}). "
        if whole:
            closest = max(whole, key=lambda c: _likeness(messages, c.messages))
            text += f"Closest is {closest.origin} ({closest.request_sha256[:16]}): "
            text += first_difference(messages, n, temperature, closest) + ". "
        return text + NEXT_STEPS


class SessionReplay:
    """Answers the k-th request with the k-th recorded answer of one session.

    Attributes:
        position: index of the next recorded call.
        differences: for each answered request, the unified diff from the recorded prompt (empty when equal).
    """

    def __init__(self, *, record: str | Path, diff_folder: str | Path | None = None, start: int = 0) -> None:
        """Reads the session.

        Args:
            record: the session's `.jsonl` file, or the name of a shipped record.
            diff_folder: where `prompt_<position>.diff` files go; None to keep the differences in memory
                alone.
            start: index of the first call to replay, for a resumed session.

        Raises:
            ConfigError: no such record, an empty one, or a start outside it.
        """
        path = Path(record)
        if not path.is_file():
            path = shipped_records() / f"{path.name.removesuffix('.jsonl')}.jsonl"
        if not path.is_file():
            raise ConfigError(f"SessionReplay: record={str(record)!r} is neither a file nor a shipped record")
        self.path, self.calls = path, read_calls(path)
        if not self.calls:
            raise ConfigError(f"SessionReplay: {path} holds no recorded call")
        if isinstance(start, bool) or not isinstance(start, int) or not 0 <= start <= len(self.calls):
            raise ConfigError(f"SessionReplay: start={start!r} must lie between 0 and {len(self.calls)}")
        self.diff_folder = Path(diff_folder) if diff_folder is not None else None
        self.position = start
        self.differences: list[str] = []

    def complete(
        self, messages: Sequence[Message], n: int = 1, temperature: float = 0.0, max_tokens: int = 4096
    ) -> list[Completion]:
        """The next recorded answers; the difference of the prompts is kept, and written if there is a folder.

        Raises:
            ChatModelError: the session is over, holds fewer answers than asked for, or the row is damaged.
        """
        checks.request(messages, n, temperature, max_tokens)
        if self.position >= len(self.calls):
            raise ChatModelError(
                f"the recorded session {self.path} has {len(self.calls)} calls and all are used up."
                f" {NEXT_STEPS}"
            )
        call = self.calls[self.position]
        answers = call.completions()
        if len(answers) < n:
            raise ChatModelError(
                f"{call.origin} recorded {len(answers)} answers, {n} were asked for; ask for {len(answers)}."
                f" {NEXT_STEPS}"
            )
        difference = prompt_diff(call, messages, n, temperature)
        if self.diff_folder is not None:
            write_text(self.diff_folder / f"prompt_{self.position:03d}.diff", difference)
        self.differences.append(difference)
        self.position += 1
        extra = {"position": self.position - 1, "prompt_differs": bool(difference)}
        return [
            Completion(a.text, a.model, a.usage, a.finish_reason, {**a.provenance, **extra})
            for a in answers[:n]
        ]


def record_files(folder: Path, name: str | None = None) -> list[Path]:
    """The records of a folder, in order of their names.

    Raises:
        ConfigError: the folder or the named record does not exist.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"ReplayChat: folder={str(folder)!r} does not exist; give the folder of the *.jsonl records"
        )
    files = sorted(folder.glob("*.jsonl"))
    if name is None:
        return files
    found = [f for f in files if f.stem == name]
    if not found:
        known = ", ".join(f.stem for f in files) or "(none)"
        raise ConfigError(f"ReplayChat: no record '{name}' in {folder}. Known: {known}")
    return found


def prompt_diff(call: RecordedCall, messages: Sequence[Message], n: int, temperature: float) -> str:
    """Unified diff from the recorded request to this one; empty when they are the same."""
    then = _lines(call.messages, call.parameters["n"], call.parameters["temperature"])
    now = _lines(messages, n, temperature)
    return "".join(f"{line}\n" for line in difflib.unified_diff(then, now, call.origin, "now", lineterm=""))


def first_difference(messages: Sequence[Message], n: int, temperature: float, call: RecordedCall) -> str:
    """Where a request first departs from a recorded one, in the last message if possible."""
    now, then = messages[-1].content.split("\n"), call.messages[-1].content.split("\n")
    for number in range(max(len(now), len(then))):
        ours = now[number] if number < len(now) else None
        theirs = then[number] if number < len(then) else None
        if ours != theirs:
            return (
                f"line {number + 1} of the last message was {_quote(theirs)} when recorded"
                f" and is {_quote(ours)} now"
            )
    if list(messages) != call.messages:
        return f"its last message is the same, the {len(call.messages)} messages as a whole are not"
    return (
        f"its messages are the same, but it was recorded with n={call.parameters['n']},"
        f" temperature={call.parameters['temperature']}"
    )


def _likeness(messages: Sequence[Message], recorded: Sequence[Message]) -> tuple[int, bool, int]:
    """Orders records by how far their last message agrees from its first line on, then by the rest."""
    now, then = messages[-1].content.split("\n"), recorded[-1].content.split("\n")
    same = 0
    while same < min(len(now), len(then)) and now[same] == then[same]:
        same += 1
    return same, list(messages) == list(recorded), len(set(now) & set(then))


def _lines(messages: Sequence[Message], n: int, temperature: float) -> list[str]:
    lines = [f"n={n} temperature={float(temperature)}"]
    for message in messages:
        lines += [f"[{message.role}]", *message.content.split("\n")]
    return lines


def _quote(line: str | None) -> str:
    return "absent" if line is None else repr(line if len(line) <= 160 else line[:160] + "...")
