"""Reads the answer of an OpenAI-compatible server: one JSON object, or a stream of server-sent events.

Pure functions on bytes, so that every malformed answer can be tested without a server.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from embodied.core.chat import Usage


class WireError(ValueError):
    """The bytes are not an answer.

    Attributes:
        code: the status that the server put into its error object, else None.
        broken_off: True when the stream ended before the answer did (worth another try).
    """

    def __init__(self, message: str, code: int | None = None, broken_off: bool = False) -> None:
        super().__init__(message)
        self.code, self.broken_off = code, broken_off


@dataclass
class Choice:
    """One alternative of the answer."""

    text: str = ""
    refusal: str = ""
    finish_reason: str = ""


@dataclass
class Answer:
    """Everything that is kept of an answer."""

    choices: dict[int, Choice] = field(default_factory=dict)
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    id: str = ""


def parse(body: bytes, event_stream: bool) -> Answer:
    """Parses a whole answer.

    Raises:
        WireError: not UTF-8, not JSON, not the shape of a chat completion, an error object, or broken off.
    """
    try:
        text = bytes(body).decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"the answer is not UTF-8 (byte {error.start})") from None
    if not event_stream:
        answer = Answer()
        _merge(answer, _object(text), "message")
    else:
        answer = _parse_events(text)
    if not answer.choices:
        raise WireError("the answer holds no choices", broken_off=event_stream)
    return answer


def _parse_events(text: str) -> Answer:
    answer, done, count = Answer(), False, 0
    for event in re.split(r"\r\n\r\n|\n\n|\r\r", text):
        lines = re.split(r"\r\n|\n|\r", event)
        data = "\n".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))
        if not data:
            continue
        if data.strip() == "[DONE]":
            done = True
            break
        count += 1
        try:
            _merge(answer, _object(data), "delta")
        except WireError as error:
            raise WireError(f"event {count}: {error}", error.code, error.broken_off) from None
    if text.strip() and not count and not done:
        raise WireError(f"the stream holds no event; it begins {text[:80]!r}")
    if not done and not all(c.finish_reason for c in answer.choices.values()):
        raise WireError("the stream broke off before the answer was finished", broken_off=True)
    return answer


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON ({type(error).__name__}: {error}); it begins {text[:80]!r}") from None
    if not isinstance(value, dict):
        raise WireError(f"expected a JSON object, got {type(value).__name__}")
    if value.get("error"):
        raise WireError(error_text(value), _code(value["error"]))
    return value


def _code(error: Any) -> int | None:
    code = error.get("code", error.get("status")) if isinstance(error, dict) else None
    try:
        return int(code) if code is not None and not isinstance(code, bool) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _merge(answer: Answer, value: dict[str, Any], part: str) -> None:
    answer.model = answer.model or _string(value.get("model"))
    answer.id = answer.id or _string(value.get("id"))
    if isinstance(value.get("usage"), dict):
        counts = value["usage"]
        answer.usage = Usage(_count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens")))
    choices = value.get("choices") or []
    if not isinstance(choices, list):
        raise WireError(f"'choices' is {type(choices).__name__} instead of a list")
    for position, item in enumerate(choices):
        if not isinstance(item, dict):
            raise WireError(f"choice {position} is {type(item).__name__} instead of an object")
        index = item.get("index", position)
        if not isinstance(index, int) or isinstance(index, bool):
            raise WireError(f"choice {position} has the index {index!r}")
        body = item.get(part) or {}
        if not isinstance(body, dict):
            raise WireError(f"choice {position}: '{part}' is {type(body).__name__} instead of an object")
        choice = answer.choices.setdefault(index, Choice())
        choice.text += _content(body.get("content"))
        choice.refusal += _string(body.get("refusal"))
        choice.finish_reason = _string(item.get("finish_reason")) or choice.finish_reason


def _content(value: Any) -> str:
    """Text as it stands, or the text parts of a list of parts."""
    if isinstance(value, list):
        return "".join(_string(p.get("text")) for p in value if isinstance(p, dict))
    if value is not None and not isinstance(value, str):
        raise WireError(f"'content' is {type(value).__name__} instead of text")
    return _string(value)


def _string(value: Any) -> str:
    # JSON can spell half a surrogate pair, which no file could hold afterwards.
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12 else 0


def error_text(value: Any, limit: int = 500) -> str:
    """What a server says went wrong, on one line without control characters."""
    error = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(error, dict):
        words = [_string(error.get(k)) for k in ("message", "detail", "type", "code")]
        said = " / ".join(dict.fromkeys(w for w in words if w))
        error = said or f"an error object with {len(error)} fields"
    elif not isinstance(error, str):
        error = f"an error of type {type(error).__name__}"
    line = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", _string(error)).split())
    return line if len(line) <= limit else line[:limit] + "..."


def error_body(body: bytes) -> str:
    """`error_text` of the body of a failed request, whatever it is."""
    text = bytes(body).decode("utf-8", "replace")
    try:
        return error_text(json.loads(text))
    except (ValueError, RecursionError):
        return error_text(text)
