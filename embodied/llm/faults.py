"""What can go wrong with one request: which faults are worth another attempt, when, and what to do."""

from __future__ import annotations

import email.utils
import math
import random
import time
from typing import Protocol

from embodied.llm import redact, wire
from embodied.llm.http import Reply

RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504, 529)
OFFLINE_HINT = "Without a server: llm=manual (you paste the answers) or llm=replay (recorded answers)"


class Request(Protocol):
    """What a fault's text tells about the request."""

    model: str
    api_key_env: str | None
    deadline_s: float
    max_bytes: int


class Failure(Exception):
    """One attempt gave no answer.

    Attributes:
        kind: see `ChatServerError`.
        retry: whether another attempt may help.
        hint: what a person can do.
        billed: whether the provider may charge for the attempt all the same.
    """

    def __init__(
        self, message: str, kind: str, retry: bool = False, hint: str = "", billed: bool = True
    ) -> None:
        super().__init__(message)
        self.kind, self.retry, self.hint, self.billed = kind, retry, hint, billed


def raise_for(reply: Reply, request: Request) -> None:
    """Raises the `Failure` that a reply means, if it is one."""
    size = len(reply.body)
    if reply.status not in (0, 200):
        raise _status_failure(reply, request)
    if reply.status == 0 or reply.ended in ("broken", "idle", "deadline"):
        if reply.ended == "deadline":
            hint = "Raise llm.deadline_s, or lower max_tokens"
            raise Failure(
                f"no whole answer within {request.deadline_s:g} s ({size} bytes read)", "deadline", hint=hint
            )
        if reply.ended == "idle":
            hint = "Raise llm.idle_timeout_s if the model is only slow"
            raise Failure(f"the server went {reply.detail} after {size} bytes", "silent", True, hint)
        reached = not reply.detail.startswith("Connect")
        hint = f"Is it running? {OFFLINE_HINT}"
        raise Failure(f"connection failed: {reply.detail}", "unreachable", True, hint, reached)
    if reply.ended == "cap":
        hint = "Lower max_tokens, or raise llm.max_bytes"
        raise Failure(
            f"the answer is longer than {request.max_bytes} bytes; reading stopped", "too_long", hint=hint
        )


def _status_failure(reply: Reply, request: Request) -> Failure:
    status, said = reply.status, redact.everything(wire.error_body(bytes(reply.body)))
    low = said.lower()
    retry = status in RETRIED_STATUS
    hint = "Try again later, or raise llm.max_attempts and llm.deadline_s" if retry else ""
    if status in (401, 403):
        name = request.api_key_env
        hint = (
            f"Check the key in {name}"
            if name
            else "This server wants a key: set llm.api_key_env to a variable name"
        )
    elif status == 404:
        hint = f"Check llm.model={request.model} and llm.base_url (it usually ends in /v1)"
    elif 300 <= status < 400:
        hint = "The address was moved; redirects are not followed because they would carry the key along"
    elif "context" in low and ("length" in low or "long" in low or "window" in low):
        hint, retry = (
            "The conversation is too long for this model: shorten it, or choose a longer context",
            False,
        )
    elif "max_completion_tokens" in low:
        hint = "Set llm.max_tokens_field=max_completion_tokens"
    elif "insufficient_quota" in low or "billing" in low:
        hint, retry = "The account has no credit left", False
    elif "stream_options" in low:
        hint = "Set llm.extra_body={stream_options:null}"
    return Failure(f"status {status}: {said or 'no text'}", "status", retry, hint, billed=False)


def backoff_s(
    attempt: int,
    retry_after: str | None,
    cap_s: float,
    random_unit: float | None = None,
    now_s: float | None = None,
) -> float:
    """The pause before the next attempt, in seconds.

    Args:
        attempt: the attempt that has just failed, from 1.
        retry_after: the server's header (seconds or an HTTP date); nonsense counts as absent.
        cap_s: the longest pause that the header can cause.
        random_unit: jitter in [0, 1); drawn when None.
        now_s: the wall clock that an HTTP date is compared with; read when None.
    """
    unit = random.random() if random_unit is None else random_unit
    own = min(8.0, 0.25 * 2.0 ** (min(attempt, 10) - 1)) * (0.5 + unit)
    if not retry_after:
        return own
    try:
        asked = float(retry_after)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(retry_after).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            return own
        asked = moment - (time.time() if now_s is None else now_s)
    if not math.isfinite(asked) or asked < 0:
        return own
    return min(asked, cap_s) + 0.1 * unit
