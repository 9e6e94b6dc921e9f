"""A person as the chat model: the prompt is shown or written to a file, the answer pasted or dropped there.

This is the way to use any model that has only a web page, and it needs neither key nor server.
"""

from __future__ import annotations

import os
import re
import select
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from embodied.core.chat import Completion, Message
from embodied.core.errors import ChatModelError, ConfigError
from embodied.core.files import write_text
from embodied.llm import checks
from embodied.llm.record import request_hash

END_LINE = "<<<END>>>"
SETTLE_S = 0.5
# Whoever relays the prompt by hand copies the text below this line, whole.
RULER = "=" * 78


class ManualChat:
    """Asks the person at the terminal, or through a folder.

    With a folder, a request is the file `<hash>.prompt.md` and its answer `<hash>.answer.md`
    (`<hash>.answer-1.md` to `-n.md` when several are wanted). An answer that already lies there is used at
    once, so an interrupted session can be repeated.
    """

    def __init__(
        self,
        *,
        folder: str | Path | None = None,
        model_name: str = "unknown (pasted by hand)",
        timeout_s: float = 3600.0,
        poll_s: float = 0.5,
        max_bytes: int = 1_000_000,
    ) -> None:
        """Checks the arguments.

        Args:
            folder: where prompts are written and answers awaited; None for the terminal.
            model_name: the model that the answers come from, for the record.
            timeout_s: the longest wait for one request.
            poll_s: how often the folder is looked at.
            max_bytes: the longest answer that is taken.

        Raises:
            ConfigError: a value is wrong, or the folder cannot be made.
        """
        self.folder = Path(folder) if folder is not None else None
        self.model_name = checks.text("ManualChat", "model_name", model_name)
        self.timeout_s = checks.positive("ManualChat", "timeout_s", timeout_s)
        self.poll_s = checks.positive("ManualChat", "poll_s", poll_s)
        self.max_bytes = checks.positive_int("ManualChat", "max_bytes", max_bytes)
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"ManualChat: cannot make folder={str(folder)!r}: {error.strerror}"
                ) from None

    def complete(
        self, messages: Sequence[Message], n: int = 1, temperature: float = 0.0, max_tokens: int = 4096
    ) -> list[Completion]:
        """Waits until a person has given `n` answers.

        Raises:
            ChatModelError: not answered in time, too long, not text, or no terminal to ask at.
        """
        checks.request(messages, n, temperature, max_tokens)
        end = time.monotonic() + self.timeout_s
        if self.folder is None:
            texts = self._ask_terminal(messages, n, end)
        else:
            texts = self._ask_folder(self.folder, messages, n, temperature, end)
        provenance = {"source": "manual", "date": datetime.now(UTC).isoformat(timespec="seconds")}
        return [Completion(text, self.model_name, provenance=provenance) for text in texts]

    def _ask_terminal(self, messages: Sequence[Message], n: int, end: float) -> list[str]:
        try:
            descriptor = sys.stdin.fileno()
        except (OSError, ValueError, AttributeError):
            raise ChatModelError(
                "there is no terminal to paste an answer at; use a folder: llm=manual llm.folder=<folder>"
            ) from None
        print(f"{RULER}\n{printable(conversation(messages))}\n{RULER}", file=sys.stderr)
        texts = []
        for index in range(n):
            which = f"answer {index + 1} of {n}" if n > 1 else "the answer"
            print(
                f"Give the text above to a language model, paste {which} here and end it with a line"
                f" {END_LINE} (lines above 4000 characters: use llm.folder=<folder> instead).",
                file=sys.stderr,
                flush=True,
            )
            texts.append(read_pasted(descriptor, end, self.max_bytes))
        return texts

    def _ask_folder(
        self, folder: Path, messages: Sequence[Message], n: int, temperature: float, end: float
    ) -> list[str]:
        name = request_hash(messages, n, temperature)[:16]
        endings = ["answer.md"] if n == 1 else [f"answer-{k}.md" for k in range(1, n + 1)]
        answers = [folder / f"{name}.{ending}" for ending in endings]
        prompt = folder / f"{name}.prompt.md"
        try:
            write_text(prompt, conversation(messages) + "\n")
        except (OSError, UnicodeEncodeError) as error:
            raise ChatModelError(f"the prompt cannot be written to {prompt}: {error}") from None
        print(
            f"Waiting up to {self.timeout_s:g} s for an answer: give the text of\n  {prompt}\nto a language"
            " model and"
            f" save what it answers, unchanged, as\n  " + "\n  ".join(str(a) for a in answers),
            file=sys.stderr,
            flush=True,
        )
        return [self._await(path, end) for path in answers]

    def _await(self, path: Path, end: float) -> str:
        """Waits until the file is there, not empty, and unchanged for a moment."""
        seen: tuple[int, int] | None = None
        since = 0.0
        while True:
            state = _state(path)
            now = time.monotonic()
            if state != seen:
                seen, since = state, now
            elif state is not None and state[0] > 0 and now - since >= SETTLE_S:
                return self._read(path)
            if now >= end:
                what = "is empty" if state is not None and state[0] == 0 else "did not come"
                raise ChatModelError(
                    f"the answer {path} {what} within {self.timeout_s:g} s. Start the command again: the same"
                    " request keeps its name, and an answer that lies there is used at once; or raise"
                    " llm.timeout_s"
                )
            time.sleep(min(self.poll_s, SETTLE_S / 2, max(0.01, end - now)))

    def _read(self, path: Path) -> str:
        try:
            with open(path, "rb") as file:
                data = file.read(self.max_bytes + 1)
        except OSError as error:
            raise ChatModelError(f"the answer {path} cannot be read: {error.strerror}") from None
        return _decode(data, str(path), self.max_bytes)


def conversation(messages: Sequence[Message]) -> str:
    """A conversation as one text for a chat window: bare if it is one message, else with headings."""
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(f"[{m.role}]\n{m.content}" for m in messages)


def printable(text: str) -> str:
    """Text without control characters that could steer a terminal (prompts carry other people's words)."""
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "?", text.replace("\r\n", "\n"))
    return text.encode("utf-8", "replace").decode("utf-8")


def read_pasted(descriptor: int, end: float, max_bytes: int = 1_000_000) -> str:
    """Reads lines from a terminal or a pipe up to the end line, or to the end of input.

    Args:
        descriptor: file descriptor to read from; read without a buffer, so nothing behind the end line is
            lost to the next reader except what came in the same line.
        end: monotonic time at which waiting ends.
        max_bytes: the longest answer.

    Raises:
        ChatModelError: no answer in time, none at all, too long, or not UTF-8.
    """
    data = b""
    marker = END_LINE.encode()
    while len(data) <= max_bytes:
        if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
            raise ChatModelError(
                f"no answer was pasted in time; end it with a line {END_LINE}, or raise llm.timeout_s"
            )
        byte = os.read(descriptor, 1)
        data += byte
        at_end_line = data.endswith(b"\n") and data[:-1].rsplit(b"\n", 1)[-1].strip() == marker
        if not byte or at_end_line:
            if at_end_line:
                data = data[: len(data) - len(data[:-1].rsplit(b"\n", 1)[-1]) - 1]
            if not data.strip():
                raise ChatModelError(
                    "nothing was pasted before the end of the input; use llm.folder=<folder>"
                )
            break
    return _decode(data, "the pasted answer", max_bytes)


def _decode(data: bytes, where: str, max_bytes: int) -> str:
    if len(data) > max_bytes:
        raise ChatModelError(f"{where} is longer than llm.max_bytes={max_bytes}; save the answer alone")
    try:
        return data.decode("utf-8-sig")  # some editors put a byte-order mark in front
    except UnicodeDecodeError as error:
        raise ChatModelError(f"{where} is not UTF-8 (byte {error.start}); save it as UTF-8 text") from None


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
