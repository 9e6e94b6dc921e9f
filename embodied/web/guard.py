"""What stands in front of every page: who may ask, from where, how much; what a browser may do with the answer.

Pages listen on loopback, which keeps other machines out but not other web sites in this machine's browser. Hence: the
Host must be ours (against DNS rebinding), the Origin too for whatever changes something and for WebSockets (which CORS
does not cover), and a random token, shown once to the person who started the page, is exchanged for an HttpOnly,
SameSite=Strict cookie. There are no CORS headers.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY_BYTES = 1 << 20
_SAFE_METHODS = ("GET", "HEAD")


@dataclass
class Guard:
    """ASGI middleware.

    Args:
        app: what is guarded.
        port: the port that the page listens on.
        token: what a browser must bring once as `/?token=...`.
        max_body_bytes: larger requests are refused.
    """

    app: Any
    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    max_body_bytes: int = MAX_BODY_BYTES

    def __post_init__(self) -> None:
        self._session = secrets.token_urlsafe(32)
        self.cookie = f"embodied_{self.port}"
        self._hosts = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or one WebSocket."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        status, reason = self._verdict(scope, headers)
        if status == 303:
            await self._let_in(send)
        elif status:
            await _refuse(scope, receive, send, status, reason)
        elif scope["type"] == "websocket":
            await self.app(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    def _verdict(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str]:
        """0 lets pass, 303 exchanges the token for the cookie, all else is refused with a reason."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self._hosts:
            return 421, f"this page answers to {', '.join(sorted(self._hosts))} alone"
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if (changes and origin is None) or (origin is not None and origin != f"http://{host}"):
            return 403, "requests from other sites are refused"
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if not changes and scope["path"] == "/" and given:
            fits = secrets.compare_digest(given.encode(), self.token.encode())
            return (303, "") if fits else (403, "the token is not this page's: open the address that was printed")
        if not secrets.compare_digest(_cookie(headers.get("cookie", ""), self.cookie).encode(), self._session.encode()):
            return 401, "open the address that was printed when the page was started: it holds the token"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.max_body_bytes:
            return 413, f"a request has at most {self.max_body_bytes} bytes"
        return 0, ""

    async def _let_in(self, send: Send) -> None:
        cookie = f"{self.cookie}={self._session}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        nonce = secrets.token_urlsafe(16)
        scope["state"] = {**scope.get("state", {}), "nonce": nonce}
        taken = 0

        async def limited() -> MutableMapping[str, Any]:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.max_body_bytes:  # a chunked body tells no length ahead
                return {"type": "http.disconnect"}
            return message

        async def hardened(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_hardening(nonce)]}
            await send(message)

        await self.app(scope, limited, hardened)


def _hardening(nonce: str) -> list[tuple[bytes, bytes]]:
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' blob:;"
        " media-src 'self'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    )
    return [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cache-control", b"no-store"),
    ]


def _cookie(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await receive()  # the handshake
        await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_hardening("none")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{reason}\n".encode()})
