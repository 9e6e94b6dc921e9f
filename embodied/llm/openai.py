"""Any server that speaks the OpenAI chat-completions protocol: OpenAI, vLLM, llama.cpp, Ollama, gateways.

Spoken with an HTTP client directly: the total deadline, the byte cap and the silence limit have to hold while
the answer streams in, which the vendor's client leaves to its caller (its timeout restarts with every byte
and every retry).
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from embodied.core.chat import Completion, Message, Usage
from embodied.core.errors import ChatModelError, ConfigError
from embodied.llm import checks, http, redact, wire
from embodied.llm.faults import OFFLINE_HINT, RETRIED_STATUS, Failure, backoff_s, raise_for

KEPT_HEADERS = ("content-type", "content-encoding", "retry-after")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_log = logging.getLogger(__name__)


class ChatServerError(ChatModelError):
    """A server gave no usable answer.

    Attributes:
        kind: `key`, `unreachable`, `silent`, `deadline`, `too_long`, `status` or `malformed`.
        status: the HTTP status, 0 without one.
        attempts: how many requests were sent.
        bytes_read: bytes of the last answer's body.
        cut_short: how many of the attempts may have been billed although nothing came of them.
    """

    def __init__(
        self,
        message: str,
        kind: str = "",
        *,
        status: int = 0,
        attempts: int = 0,
        bytes_read: int = 0,
        cut_short: int = 0,
    ) -> None:
        super().__init__(message)
        self.kind, self.status, self.attempts = kind, status, attempts
        self.bytes_read, self.cut_short = bytes_read, cut_short


class OpenAIChat:
    """A chat model behind an OpenAI-compatible server.

    The key is read from the named environment variable at each call and lives only in the frames of that
    request.

    Args:
        base_url: address up to the version, such as `http://127.0.0.1:8000/v1`.
        model: name of the model, as the server knows it.
        api_key_env: NAME of the environment variable with the key; None for a server that needs none.
        deadline_s: the longest that one `complete` takes, all retries and pauses included.
        max_attempts: requests per answer at most (connection faults and status 408, 425, 429, 5xx are
            retried).
        max_bytes: the longest answer body that is read.
        idle_timeout_s: the longest silence of the server, before its first byte and between two.
        retry_after_cap_s: the longest pause that the server's `Retry-After` may ask for.
        stream: ask for server-sent events; switch off for servers without them.
        max_tokens_field: `max_tokens`, or `max_completion_tokens` for models that want that name.
        extra_body: further fields of the request; a null removes a field (`{temperature: null}`).

    Raises:
        ConfigError: a value is wrong. The text never repeats what might be a key.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key_env: str | None = "OPENAI_API_KEY",
        deadline_s: float = 180.0,
        max_attempts: int = 4,
        max_bytes: int = 4_000_000,
        idle_timeout_s: float = 60.0,
        retry_after_cap_s: float = 30.0,
        stream: bool = True,
        max_tokens_field: str = "max_tokens",
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        """Checks everything that can be checked without a request; raises ConfigError."""
        where = "OpenAIChat"
        self.base_url = _checked_url(base_url)
        self.model = checks.text(where, "model", model)
        self.api_key_env = _checked_variable(api_key_env)
        self.deadline_s = checks.positive(where, "deadline_s", deadline_s)
        self.max_attempts = checks.positive_int(where, "max_attempts", max_attempts)
        self.max_bytes = checks.positive_int(where, "max_bytes", max_bytes)
        self.idle_timeout_s = checks.positive(where, "idle_timeout_s", idle_timeout_s)
        self.retry_after_cap_s = checks.positive(where, "retry_after_cap_s", retry_after_cap_s)
        if not isinstance(stream, bool):
            raise ConfigError(f"{where}: stream={stream!r} must be true or false")
        if max_tokens_field not in ("max_tokens", "max_completion_tokens"):
            raise ConfigError(
                f"{where}: max_tokens_field={max_tokens_field!r}; valid: max_tokens, max_completion_tokens"
            )
        self.stream, self.max_tokens_field = stream, max_tokens_field
        self.extra_body = _checked_extra(extra_body)
        if self.api_key_env:
            redact.register(self.api_key_env)
            if self.base_url.startswith("http://") and not http.is_loopback(self.base_url):
                _log.warning(
                    "%s is not encrypted: the key in %s crosses the network readably (use https, or"
                    " llm.api_key_env=null where the server needs no key)",
                    self.base_url,
                    self.api_key_env,
                )

    def __repr__(self) -> str:
        return (
            f"OpenAIChat(base_url={self.base_url!r}, model={self.model!r}, api_key_env={self.api_key_env!r})"
        )

    def complete(
        self, messages: Sequence[Message], n: int = 1, temperature: float = 0.0, max_tokens: int = 4096
    ) -> list[Completion]:
        """Answers `n` times under one deadline; servers that ignore `n` are asked again for the rest.

        The server counts tokens per request: the first completion of a request carries the request's whole
        usage, so that the sum over the list is what was billed.

        Raises:
            ChatServerError: no usable answer; see its `kind`.
        """
        checks.request(messages, n, temperature, max_tokens)
        self._check_key(messages)
        redact.guard_http_logs()
        end = time.monotonic() + self.deadline_s
        found: list[Completion] = []
        while len(found) < n:
            body = self._body(messages, n - len(found), temperature, max_tokens)
            found += self._request(body, end)[: n - len(found)]
        return found

    def _body(self, messages: Sequence[Message], n: int, temperature: float, max_tokens: int) -> bytes:
        body: dict[str, Any] = {"model": self.model, "messages": [dataclasses.asdict(m) for m in messages]}
        body |= {"temperature": temperature, self.max_tokens_field: max_tokens}
        if n > 1:
            body["n"] = n
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        for name, value in self.extra_body.items():
            body.pop(name, None)
            if value is not None:
                body[name] = value
        return json.dumps(body).encode("ascii")  # ASCII escapes: no prompt can make this fail

    def _check_key(self, messages: Sequence[Message]) -> None:
        """Refuses a missing key, and a prompt that would send the key to the model and into the records."""
        if self.api_key_env is None:
            return
        value = os.environ.get(self.api_key_env, "").strip()
        if not value:
            raise ChatServerError(
                f"no key for {self.base_url}: the environment variable {self.api_key_env} is not set. Set it"
                f" with 'export {self.api_key_env}=...' in the shell that starts the command, name another"
                f" variable with llm.api_key_env=NAME, or write llm.api_key_env=null for a server without"
                f" keys. {OFFLINE_HINT}",
                "key",
            )
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ChatServerError(
                f"the environment variable {self.api_key_env} holds characters that no key has (a space, a"
                " line break or a letter outside ASCII): export it again",
                "key",
            )
        if len(value) >= redact.MIN_SECRET_CHARS and any(value in m.content for m in messages):
            raise ChatServerError(
                f"the prompt contains the value of {self.api_key_env}; it was not sent. Remove the key from"
                " the instruction or the feedback, and replace it if it was ever stored",
                "key",
            )

    def _request(self, body: bytes, end: float) -> list[Completion]:
        """Sends one request until it succeeds, fails for good, or runs out of attempts or time."""
        began, cut_short = time.monotonic(), 0
        for attempt in range(1, self.max_attempts + 1):
            reply = self._attempt(body, end)
            try:
                return self._completions(reply, attempt, began, cut_short)
            except Failure as failure:
                cut_short += failure.billed
                text = (
                    f"{self.model} at {self.base_url}: {failure} (attempt {attempt} of at most"
                    f" {self.max_attempts}, {time.monotonic() - began:.1f} s). {failure.hint}"
                )
                error = ChatServerError(
                    redact.everything(text.rstrip(" .")),
                    failure.kind,
                    status=reply.status,
                    attempts=attempt,
                    bytes_read=len(reply.body),
                    cut_short=cut_short,
                )
                retry = failure.retry
            pause = backoff_s(attempt, reply.headers.get("retry-after"), self.retry_after_cap_s)
            if not retry or attempt == self.max_attempts or pause >= end - time.monotonic():
                raise error
            _log.info("%s; trying again in %.1f s", error, pause)
            time.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _attempt(self, body: bytes, end: float) -> http.Reply:
        """One HTTP exchange. The only frame that holds the key, and it returns instead of raising."""
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "embodied",
        }
        if self.api_key_env is not None:
            headers["Authorization"] = f"Bearer {os.environ.get(self.api_key_env, '').strip()}"
        call = http.Call(
            f"{self.base_url}/chat/completions", headers, body, end, self.idle_timeout_s, self.max_bytes
        )
        reply = http.post(call)
        # A server can echo the key; from here on the reply travels through frames that tracebacks may print.
        kept = {k: redact.exact(v) for k, v in reply.headers.items() if k in KEPT_HEADERS}
        return dataclasses.replace(
            reply,
            headers=kept,
            body=redact.exact_bytes(reply.body),
            detail=redact.everything(reply.detail),
        )

    def _completions(self, reply: http.Reply, attempt: int, began: float, cut_short: int) -> list[Completion]:
        raise_for(reply, self)
        if reply.headers.get("content-encoding", "identity") != "identity":
            raise Failure(
                f"the answer is compressed ({reply.headers['content-encoding']}) although that was declined",
                "malformed",
                hint="Switch compression off in the gateway",
            )
        try:
            answer = wire.parse(bytes(reply.body), http.is_event_stream(reply.headers))
        except wire.WireError as error:
            retry = error.broken_off or error.code in RETRIED_STATUS
            hint = "" if error.broken_off or error.code else "Is llm.base_url right (it usually ends in /v1)?"
            raise Failure(f"malformed answer: {error}", "malformed", retry, hint) from None
        provenance = {
            "source": "openai",
            "server": self.base_url,
            "id": redact.exact(answer.id),
            "attempts": attempt,
            "cut_short": cut_short,
            "latency_s": round(time.monotonic() - began, 3),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        model = redact.exact(answer.model) or self.model
        completions = []
        for position, index in enumerate(sorted(answer.choices)):
            choice = answer.choices[index]
            # A refusal comes in a field of its own: it is the answer's text, marked by its finish reason.
            text = choice.text or choice.refusal
            reason = "content_filter" if choice.refusal else choice.finish_reason or "stop"
            usage = answer.usage if position == 0 else Usage()
            completions.append(Completion(redact.exact(text), model, usage, redact.exact(reason), provenance))
        return completions


def _checked_url(url: Any) -> str:
    try:
        parts = urlsplit(str(url))
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        raise ConfigError(
            "OpenAIChat: base_url is not an address; expected such as http://127.0.0.1:8000/v1"
        ) from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            "OpenAIChat: base_url carries a user name, a password or a query (not repeated here: it may be a"
            " secret). Give the plain address, and the key through the variable named by llm.api_key_env"
        )
    if not good:
        raise ConfigError(
            f"OpenAIChat: base_url={url!r} is not an address; expected such as http://127.0.0.1:8000/v1"
        )
    return str(url).rstrip("/")


def _checked_variable(name: Any) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise ConfigError(
            "OpenAIChat: api_key_env must be the NAME of an environment variable in capital letters, such as"
            " OPENAI_API_KEY, or null. The given value is not repeated here because it may be the key itself;"
            " if it is, replace that key: it may be in your shell history"
        )
    return name


def _checked_extra(extra: Any) -> dict[str, Any]:
    if extra is None:
        return {}
    if not isinstance(extra, Mapping):
        raise ConfigError(
            f"OpenAIChat: extra_body is {type(extra).__name__}; expected a mapping of request fields"
        )
    for name, value in extra.items():
        if name in ("messages", "model", "n", "stream"):
            raise ConfigError(f"OpenAIChat: extra_body cannot set '{name}': it has its own place")
        if (
            re.search(r"api_?key|secret|password|authorization|(^|_)token$", str(name), re.IGNORECASE)
            and value
        ):
            raise ConfigError(
                f"OpenAIChat: extra_body.{name} looks like a secret, and configurations are written into run"
                " folders; give the key through the variable named by llm.api_key_env"
            )
    try:
        json.dumps(dict(extra), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"OpenAIChat: extra_body is not plain JSON: {error}") from None
    return dict(extra)
