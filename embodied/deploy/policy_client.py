"""A policy that runs elsewhere: the `Policy` contract over a websocket. Needs neither torch nor MuJoCo."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from embodied.core.errors import PolicyServerError
from embodied.deploy.wire import MAX_MESSAGE_BYTES, PROTOCOL, pack, unpack


class PolicyClient:
    """Asks a `PolicyServer`.

    Args:
        url: such as `ws://127.0.0.1:8000`.
        token: that the server asks for, or None.
        timeout_s: longest wait for an answer, connecting included [s].

    Attributes:
        about: the server's greeting.
        features: what `act` needs, key -> shape.
        action_size: A.
        n_action_steps: actions of a chunk to execute before the next.
        fps: actions per second.
        said: the reasoning behind the last chunk.
        timing: of the last chunk: `infer_ms` and `total_ms` at the server, `round_trip_ms` here.

    Raises:
        PolicyServerError: nobody answers, the token is wrong, or the server speaks another protocol.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 5.0) -> None:
        self.url, self.timeout_s, self.said = url, timeout_s, ""
        self.timing: dict[str, float] = {}
        self._asked, self._open = 0, ExitStack()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            opening = connect(
                url,
                additional_headers=headers,
                open_timeout=timeout_s,
                close_timeout=1.0,
                max_size=MAX_MESSAGE_BYTES,
                compression=None,
                proxy=None,
            )
            self._connection: ClientConnection = self._open.enter_context(opening)
            self.about = unpack(self._connection.recv(timeout=timeout_s))
        except InvalidStatus as error:
            raise PolicyServerError(f"{url} refuses: {error.response.body.decode(errors='replace').strip()}") from None
        except (OSError, TimeoutError, WebSocketException) as error:
            raise PolicyServerError(f"no policy server at {url}: {error}") from None
        if self.about.get("protocol") != PROTOCOL:
            self.close()
            raise PolicyServerError(f"{url} speaks {self.about.get('protocol')!r}, this client {PROTOCOL!r}")
        try:
            self.action_size, self.n_action_steps = int(self.about["action_size"]), int(self.about["n_action_steps"])
            self.fps = int(self.about["fps"])
        except (KeyError, TypeError, ValueError) as error:
            self.close()
            raise PolicyServerError(f"{url} greets without action_size, n_action_steps and fps ({error!r})") from None
        self.features: Mapping[str, tuple[int, ...]] = {k: tuple(v) for k, v in self.about["features"].items()}

    def reset(self, instruction: str) -> None:
        """Begins an episode."""
        self.said = ""
        self._ask({"kind": "reset", "instruction": instruction})

    def instruct(self, text: str) -> None:
        """Changes the instruction while the policy runs."""
        self._ask({"kind": "instruct", "text": text})

    def act(self, observation: Mapping[str, Any], prefix: np.ndarray | None = None) -> np.ndarray:
        """Chunk `(T, A)` of raw actions; see `VLAPolicy.act`."""
        begin = time.perf_counter()
        seen = {key: np.asarray(observation[key]) for key in self.features if key in observation}
        reply = self._ask({"kind": "act", "observation": seen, "prefix": prefix})
        chunk = reply.get("chunk")
        if not isinstance(chunk, np.ndarray) or chunk.ndim != 2 or not np.isfinite(chunk).all():
            raise PolicyServerError(f"{self.url} answered without a finite chunk (T, A)")
        self.said = str(reply.get("said", ""))
        self.timing = {**reply.get("timing", {}), "round_trip_ms": 1e3 * (time.perf_counter() - begin)}
        return chunk

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self._asked += 1
        end = time.monotonic() + self.timeout_s
        try:
            self._connection.send(pack({**message, "id": self._asked}))
            while True:  # an answer that came after its time-out belongs to an earlier question
                reply = unpack(self._connection.recv(timeout=max(0.0, end - time.monotonic())))
                if reply.get("id") == self._asked:
                    break
        except TimeoutError:
            raise PolicyServerError(f"{self.url} did not answer within {self.timeout_s} s") from None
        except (OSError, WebSocketException) as error:
            raise PolicyServerError(f"the connection to {self.url} is lost: {error}") from None
        if "error" in reply:
            raise PolicyServerError(f"{self.url}: {reply['error']}")
        return reply

    def close(self) -> None:
        """Ends the connection."""
        self._open.close()

    def __enter__(self) -> PolicyClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
