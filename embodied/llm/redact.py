"""Keeps keys out of texts: exact known values and patterns that look like keys.

Only the *names* of environment variables are kept; their values are read when a text is redacted. So no
object of this package holds a key that a debugger, a pickle or a `repr` could show.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading

MARK = "[redacted]"
# Shorter values ("EMPTY", "none": what local servers are given) are no secrets, and replacing them would
# garble answers in which the word occurs.
MIN_SECRET_CHARS = 8
HTTP_LOGGERS = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
)

_PATTERNS = re.compile(
    r"\b(?:sk|rk|pk)-[A-Za-z0-9_\-]{16,}"
    r"|\bhf_[A-Za-z0-9]{20,}|\bgsk_[A-Za-z0-9]{20,}|\bxai-[A-Za-z0-9]{20,}|\bAIza[A-Za-z0-9_\-]{30,}"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/\-]{8,}=*"
)
_names: set[str] = set()
_lock = threading.Lock()


def register(variable: str) -> None:
    """Declares that the environment variable of this name holds a secret."""
    with _lock:
        _names.add(variable)


def secrets() -> list[str]:
    """The values of the registered variables, longest first, as they are in the environment now."""
    with _lock:
        names = sorted(_names)
    values = {os.environ.get(name, "").strip() for name in names}
    return sorted((v for v in values if len(v) >= MIN_SECRET_CHARS), key=len, reverse=True)


def exact(text: str) -> str:
    """Replaces the registered secrets, and nothing else: for answers, which stay verbatim otherwise."""
    for value in secrets():
        text = text.replace(value, MARK)
        escaped = json.dumps(value)[1:-1]
        if escaped != value:
            text = text.replace(escaped, MARK)
    return text


def exact_bytes(data: bytearray) -> bytearray:
    """Replaces the registered secrets in bytes that came from outside."""
    for value in secrets():
        data = data.replace(value.encode("utf-8", "surrogateescape"), MARK.encode())
    return data


def everything(text: str) -> str:
    """Replaces the registered secrets and whatever looks like a key: for errors and logs."""
    return _PATTERNS.sub(MARK, exact(text))


class RedactFilter(logging.Filter):
    """Redacts the finished text of a log record, and of its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record pass, without the secrets."""
        try:
            text = record.getMessage()
        except Exception:
            return True
        clean = everything(text)
        if clean != text:
            record.msg, record.args = clean, None
        if record.exc_info:
            record.exc_text = everything(logging.Formatter().formatException(record.exc_info))
        return True


_FILTER = RedactFilter()


def guard_http_logs() -> None:
    """Puts the filter on the loggers of the HTTP client, which print headers at DEBUG level."""
    for name in HTTP_LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)  # adding the same filter twice does nothing


def guard_handlers(logger: logging.Logger | None = None) -> None:
    """Puts the filter on every handler of a logger (default: the root), for the start of a command."""
    for handler in (logger or logging.getLogger()).handlers:
        handler.addFilter(_FILTER)
