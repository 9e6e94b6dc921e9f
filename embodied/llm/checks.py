"""Early checks of constructor arguments and requests: a wrong value is named before the first call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from embodied.core.chat import Message
from embodied.core.errors import ChatModelError, ConfigError

ROLES = ("system", "user", "assistant")


def positive(where: str, name: str, value: Any) -> float:
    """A finite number above zero, as a float.

    Raises:
        ConfigError: anything else.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or value <= 0
    ):
        raise ConfigError(f"{where}: {name}={value!r} must be a finite number above 0")
    return float(value)


def positive_int(where: str, name: str, value: Any) -> int:
    """A whole number of at least 1.

    Raises:
        ConfigError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{where}: {name}={value!r} must be a whole number of at least 1")
    return value


def text(where: str, name: str, value: Any) -> str:
    """A string that is not empty.

    Raises:
        ConfigError: anything else.
    """
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where}: {name}={value!r} must be a text that is not empty")
    return value


def request(messages: Sequence[Message], n: int, temperature: float, max_tokens: int) -> None:
    """Checks the arguments of `ChatModel.complete`.

    Raises:
        ChatModelError: no message, an unknown role, or a parameter out of range.
    """
    if not messages:
        raise ChatModelError("a request needs at least one message; got none")
    for index, message in enumerate(messages):
        if message.role not in ROLES:
            raise ChatModelError(f"message {index} has the role {message.role!r}; valid: {', '.join(ROLES)}")
        if not isinstance(message.content, str):
            raise ChatModelError(f"message {index} holds {type(message.content).__name__} instead of text")
    for name, value in (("n", n), ("max_tokens", max_tokens)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ChatModelError(f"{name}={value!r} must be a whole number of at least 1")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 <= temperature <= 2:
        raise ChatModelError(f"temperature={temperature!r} must lie between 0 and 2")
