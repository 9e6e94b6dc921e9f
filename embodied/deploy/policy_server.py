"""Serves a policy over a websocket: one connection is one robot, with its own instruction and its own reasoning.

The server greets with what the policy needs and gives (protocol, features, chunk, rate, sha256). Then a client asks,
and each question is answered with the same `id`:

    {"kind": "reset", "id": 1, "instruction": "Open the drawer."}        -> {"id": 1}
    {"kind": "act", "id": 2, "observation": {...}, "prefix": array|None} -> {"id": 2, "chunk": (T, A), "said": "...",
                                                                             "timing": {"infer_ms", "total_ms"}}
    {"kind": "instruct", "id": 3, "text": "..."}                         -> {"id": 3}

A question that cannot be answered gets `{"id", "error"}`; bytes that are no message end the connection. A client gives
the server's token as `Authorization: Bearer <token>`.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from embodied.core.errors import EmbodiedError, PolicyServerError
from embodied.deploy.wire import MAX_MESSAGE_BYTES, PROTOCOL, pack, unpack

_MOST_CHARACTERS = 2000


class PolicyServer:
    """Serves one policy until `close`.

    Args:
        make_policy: makes the policy of one connection; weights are shared.
        about: what the greeting says besides the protocol and the features.
        host: interface; loopback unless the network is trusted.
        port: 0 takes a free one.
        token: what clients must know; None admits everyone who can reach the port.
    """

    def __init__(
        self,
        make_policy: Callable[[], Any],
        about: dict[str, Any],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
    ) -> None:
        self._make, self._token = make_policy, token
        self._about = about
        self._lock = threading.Lock()  # one inference at a time: the device is shared
        self._server: Server = serve(
            self._attend,
            host,
            port,
            process_request=self._admit,
            max_size=MAX_MESSAGE_BYTES,
            compression=None,
            ping_interval=20,
        )
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="policy-server", daemon=True)

    def start(self) -> PolicyServer:
        """Begins to answer, on a thread of its own."""
        self._thread.start()
        return self

    def wait(self) -> None:
        """Returns when the server was closed."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def close(self) -> None:
        """Ends all connections."""
        self._server.shutdown()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/healthz":
            return connection.respond(HTTPStatus.OK, "ok\n")
        given = request.headers.get("Authorization", "")
        if self._token is not None and not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong\n")
        if request.headers.get("Origin"):  # a page in somebody's browser
            return connection.respond(HTTPStatus.FORBIDDEN, "browsers are not served\n")
        return None

    def _attend(self, connection: ServerConnection) -> None:
        policy = self._make()
        features = {key: list(shape) for key, shape in policy.features.items()}
        connection.send(pack({"protocol": PROTOCOL, "features": features, **self._about}))
        try:
            for data in connection:
                begin = time.perf_counter()
                try:
                    message = unpack(data)
                except PolicyServerError as error:
                    connection.close(1008, str(error)[:120])
                    return
                connection.send(pack(self._answer(policy, message, begin)))
        except ConnectionClosed:
            return

    def _answer(self, policy: Any, message: dict[str, Any], begin: float) -> dict[str, Any]:
        reply: dict[str, Any] = {"id": message.get("id")}
        try:
            kind = message.get("kind")
            if kind == "reset":
                policy.reset(_text(message, "instruction"))
            elif kind == "instruct":
                policy.instruct(_text(message, "text"))
            elif kind == "act":
                observation, prefix = message.get("observation"), message.get("prefix")
                if not isinstance(observation, dict) or not (prefix is None or isinstance(prefix, np.ndarray)):
                    raise PolicyServerError(
                        "'act' needs an observation (a map of arrays), and an array or nil as prefix"
                    )
                with self._lock:
                    start = time.perf_counter()
                    chunk = policy.act(observation, **({} if prefix is None else {"prefix": prefix}))
                    infer = time.perf_counter() - start
                reply |= {"chunk": np.asarray(chunk, dtype=np.float32), "said": getattr(policy, "said", "")}
                reply["timing"] = {"infer_ms": 1e3 * infer, "total_ms": 1e3 * (time.perf_counter() - begin)}
            else:
                raise PolicyServerError(f"unknown kind {kind!r}; known are reset, instruct, act")
        except EmbodiedError as error:
            return {"id": message.get("id"), "error": str(error)}
        except Exception as error:  # whatever a policy makes of an observation that only looks right
            return {"id": message.get("id"), "error": f"{type(error).__name__}: {error}"}
        return reply


def _text(message: dict[str, Any], key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str) or len(value) > _MOST_CHARACTERS:
        raise PolicyServerError(f"'{key}' must be a text of at most {_MOST_CHARACTERS} characters")
    return value
