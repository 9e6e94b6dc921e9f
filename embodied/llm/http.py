"""One bounded HTTP request: total deadline, silence limit, byte cap.

The exchange runs on its own event loop in a daemon thread. Cancelling a task ends a connect, a trickle of
header bytes and an endless body alike, where socket timeouts restart with every byte; and the caller is
released at the deadline even while a name look-up hangs inside the C library. It works under a running event
loop too.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

ERROR_BYTES = 65_536
GRACE_S = 0.5
DONE_MARK = b"data: [DONE]"


@dataclass(frozen=True, repr=False)
class Call:
    """What to send, and the limits. Has no `repr` with values: the headers hold the key."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    deadline: float
    idle_timeout_s: float
    max_bytes: int


@dataclass
class Reply:
    """What came back; `body` never exceeds the cap by more than one network read.

    Attributes:
        status: HTTP status, 0 when no header arrived.
        headers: names in lower case.
        ended: `complete`, `cap` (too many bytes), `idle` (silence), `deadline` or `broken` (see `detail`).
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: str = "deadline"
    detail: str = ""


def post(call: Call) -> Reply:
    """Sends a POST and returns what came back. Network faults are told by `Reply.ended`, never raised."""
    reply = Reply()
    finished = threading.Event()

    def work() -> None:
        try:
            asyncio.run(_bounded(call, reply))
        except BaseException as error:
            reply.ended, reply.detail = "broken", f"{type(error).__name__}: {error}"
        finally:
            finished.set()

    threading.Thread(target=work, name="llm-http", daemon=True).start()
    if not finished.wait(max(0.0, call.deadline - time.monotonic()) + GRACE_S):
        # The thread is stuck outside Python's reach. It keeps its own reply; the caller gets a fresh one.
        return Reply(ended="deadline", detail="the connection did not end in time")
    return reply


async def _bounded(call: Call, reply: Reply) -> None:
    import httpx  # 0.15 s to import: only paid by a call

    try:
        async with asyncio.timeout(max(0.0, call.deadline - time.monotonic())):
            await _exchange(call, reply)
        return
    except TimeoutError:
        reply.ended = "deadline"
    except httpx.ReadTimeout:
        reply.ended, reply.detail = "idle", f"silent for {call.idle_timeout_s:g} s"
    except httpx.HTTPError as error:
        reply.ended, reply.detail = "broken", f"{type(error).__name__}: {error}".rstrip(": ")


async def _exchange(call: Call, reply: Reply) -> None:
    import httpx

    async with (
        httpx.AsyncClient(
            timeout=httpx.Timeout(call.idle_timeout_s),
            follow_redirects=False,  # a redirect would carry the key to another host
            trust_env=not is_loopback(call.url),  # proxies for the outside world only
        ) as client,
        client.stream("POST", call.url, headers=dict(call.headers), content=call.body) as response,
    ):
        reply.status = response.status_code
        reply.headers = {k.lower(): v for k, v in response.headers.items()}
        cap = call.max_bytes if response.status_code == 200 else min(call.max_bytes, ERROR_BYTES)
        async for chunk in response.aiter_raw():  # raw: a compressed body could unfold beyond the cap
            seen = max(0, len(reply.body) - len(DONE_MARK))
            reply.body += chunk
            if len(reply.body) > cap:
                reply.ended = "cap"
                return
            if DONE_MARK in reply.body[seen:] and is_event_stream(reply.headers):
                break  # some servers keep the connection open after their last event
        reply.ended = "complete"


def is_event_stream(headers: Mapping[str, str]) -> bool:
    """Whether the answer is a stream of server-sent events."""
    return "text/event-stream" in headers.get("content-type", "")


def is_loopback(url: str) -> bool:
    """Whether a URL points at this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
