"""Records every call of a chat model: one JSON line a call, appended, never rewritten.

Answers of language models cannot be had a second time, so the record is the source: experiments are repeated
from it (`llm=replay`). It holds what was asked and answered, never headers or keys.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embodied.core.chat import ChatModel, Completion, Message, Usage, request_sha256
from embodied.core.errors import ChatModelError, ConfigError
from embodied.llm import checks, redact

FORMAT = 1


class Recorder:
    """Passes calls on to another chat model and writes each of them down.

    Attributes:
        path: the file that grows, `<folder>/<name>.jsonl`.
        prompt_version: version of the prompt files behind the next calls; whoever writes prompts sets it.
        labels: further plain values for the next rows, such as `{"round": 2}`.
    """

    def __init__(
        self, inner: ChatModel, folder: str | Path, *, name: str = "calls", prompt_version: str = ""
    ) -> None:
        """Opens the record, and closes off a line that a killed process left unfinished.

        Raises:
            ConfigError: the folder cannot be made or written.
        """
        if not checks.text("Recorder", "name", name).replace("-", "_").replace(".", "_").isidentifier():
            raise ConfigError(f"Recorder: name={name!r} must be a plain file name without a folder")
        self.inner, self.path = inner, Path(folder) / f"{name}.jsonl"
        self.prompt_version = prompt_version
        self.labels: dict[str, Any] = {}
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _close_torn_line(self.path)
        except OSError as error:
            raise ConfigError(f"Recorder: cannot write {self.path}: {error.strerror}") from None

    def complete(
        self, messages: Sequence[Message], n: int = 1, temperature: float = 0.0, max_tokens: int = 4096
    ) -> list[Completion]:
        """Answers through the inner model; the row is on the disk before the answer is returned.

        Raises:
            ChatModelError: what the inner model raised (recorded too), or the record cannot be written.
        """
        row: dict[str, Any] = {
            "format": FORMAT,
            "request_sha256": request_hash(messages, n, temperature),
            "prompt_version": self.prompt_version,
            "labels": dict(self.labels),
            "messages": [asdict(m) for m in messages],
            "parameters": {"n": n, "temperature": temperature, "max_tokens": max_tokens},
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        began = time.monotonic()
        try:
            answers = self.inner.complete(messages, n, temperature, max_tokens)
        except ChatModelError as error:
            row |= {"latency_s": round(time.monotonic() - began, 3), "answers": [], "error": str(error)}
            self._append(row)
            raise
        row["latency_s"] = round(time.monotonic() - began, 3)
        row |= {"answers": [answer_row(a) for a in answers], "error": None}
        self._append(row)
        return answers

    def _append(self, row: dict[str, Any]) -> None:
        with self._lock:
            try:
                append_row(self.path, row)
            except OSError as error:
                raise ChatModelError(
                    f"the call could not be recorded in {self.path}: {error.strerror}. An answer that is not"
                    " recorded cannot be reproduced, so the call counts as failed; make room or choose"
                    " another run folder"
                ) from None


def request_hash(messages: Sequence[Message], n: int, temperature: float) -> str:
    """The hash of a request; a temperature of 0 and one of 0.0 are the same."""
    return request_sha256(messages, n, float(temperature))


def answer_row(completion: Completion) -> dict[str, Any]:
    """One answer as plain JSON values, with the hash of its text."""
    return {
        "text": completion.text,
        "sha256": text_sha256(completion.text),
        "model": completion.model,
        "finish_reason": completion.finish_reason,
        "usage": asdict(completion.usage),
        "provenance": dict(completion.provenance),
    }


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Appends one row in one write and waits until the disk has it."""
    line = redact.exact(json.dumps(row, ensure_ascii=False, allow_nan=False))
    try:
        data = line.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair in a prompt: readable escapes instead
        data = redact.exact(json.dumps(row, allow_nan=False)).encode("ascii")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if os.write(descriptor, data + b"\n") != len(data) + 1:
            raise OSError(28, "the disk is full")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _close_torn_line(path: Path) -> None:
    """Ends an unfinished last line, so that the next row does not continue it."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with open(path, "rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


def text_sha256(text: str) -> str:
    """Hash of an answer's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class RecordedCall:
    """One row of a record.

    Attributes:
        origin: `file.jsonl:line`, for messages.
        damage: empty, or what is wrong with the row.
        row: the row as it stands in the file (empty when it is not JSON).
    """

    origin: str
    row: Mapping[str, Any]
    damage: str = ""

    @property
    def request_sha256(self) -> str:
        """The hash under which the call is found."""
        return str(self.row.get("request_sha256", ""))

    @property
    def sample(self) -> int:
        """Which of several answers to this request; 0 where the row does not say."""
        labels = self.row.get("labels")
        return labels.get("sample", 0) if isinstance(labels, Mapping) else 0

    @property
    def messages(self) -> list[Message]:
        """The conversation that was sent."""
        return [Message(m["role"], m["content"]) for m in self.row["messages"]]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """`n`, `temperature` and `max_tokens` of the call."""
        return self.row["parameters"]

    def completions(self) -> list[Completion]:
        """The recorded answers, marked as replayed.

        Raises:
            ChatModelError: the row is damaged.
        """
        if self.damage:
            raise ChatModelError(
                f"the record {self.origin} is damaged: {self.damage}. Restore the file from its origin"
                " (version control, backup); an altered answer is not an answer of the model"
            )
        return [
            Completion(
                a["text"],
                a["model"],
                Usage(**a["usage"]),
                a["finish_reason"],
                {
                    **a.get("provenance", {}),
                    "source": "replay",
                    "recorded_source": a.get("provenance", {}).get("source", ""),
                    "recorded_date": self.row.get("date", ""),
                    "record": self.origin,
                },
            )
            for a in self.row["answers"]
        ]


def read_calls(path: Path) -> list[RecordedCall]:
    """Reads one record. Rows of failed calls are left out; damaged rows are kept and marked.

    A last line without its line end belongs to a writer that was killed: it is left out too.
    """
    calls: list[RecordedCall] = []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n")[:-1], start=1):
        if not line.strip():
            continue
        call = _read_row(f"{Path(path).name}:{number}", line)
        if call.damage or not call.row.get("error"):
            calls.append(call)
    return calls


def _read_row(origin: str, line: bytes) -> RecordedCall:
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return RecordedCall(origin, {}, f"not a line of JSON ({error})")
    if not isinstance(row, dict):
        return RecordedCall(origin, {}, f"{type(row).__name__} instead of an object")
    if row.get("format") != FORMAT:
        return RecordedCall(origin, {}, f"format {row.get('format')!r}; this version reads format {FORMAT}")
    try:
        call = RecordedCall(origin, row)
        actual = request_hash(call.messages, call.parameters["n"], call.parameters["temperature"])
        call.completions()
        texts = [(a["text"], a["sha256"]) for a in row["answers"]]
        hashes = [(text_sha256(text), told) for text, told in texts]
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        # Without its messages the row can neither be looked up nor compared.
        return RecordedCall(origin, {}, f"a field is missing or of the wrong type ({error})")
    if actual != call.request_sha256:
        return RecordedCall(
            origin, row, f"the request hashes to {actual[:16]}, the row says {call.request_sha256[:16]}"
        )
    for index, (is_hash, told) in enumerate(hashes):
        if is_hash != told:
            return RecordedCall(
                origin, row, f"answer {index} hashes to {is_hash[:16]}, the row says {str(told)[:16]}"
            )
    return call
