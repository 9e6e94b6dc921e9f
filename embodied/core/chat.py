"""The chat-model contract: what every language model behind the stack looks like."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Message:
    """One turn. `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True)
class Usage:
    """Tokens as the server counted them (0 where it does not say)."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Completion:
    """One answer, verbatim.

    Attributes:
        text: exactly what the model wrote.
        model: the model's name as it was returned, or as the person who pasted it gave it.
        usage: token counts.
        finish_reason: `stop`, `length` (cut off), `content_filter` (refused) or another word of the server's.
        provenance: how it came (`openai`, `local`, `manual`, `replay`), date, record id.
    """

    text: str
    model: str
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = "stop"
    provenance: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class ChatModel(Protocol):
    """A language model. Every implementation is bounded in time, bytes and retries."""

    def complete(
        self, messages: Sequence[Message], n: int = 1, temperature: float = 0.0, max_tokens: int = 4096
    ) -> list[Completion]:
        """Answers a conversation `n` times.

        Raises:
            ChatModelError: no usable answer within the deadline, the byte cap or the budget. The text says
                what happened and what to do, and holds no secret.
        """
        ...


def request_sha256(messages: Sequence[Message], n: int = 1, temperature: float = 0.0) -> str:
    """Hash of the exact request: the key under which a record answers it."""
    body = {"messages": [asdict(m) for m in messages], "n": n, "temperature": float(temperature)}
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
