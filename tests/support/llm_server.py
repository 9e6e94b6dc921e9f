"""A chat-completions server on loopback that answers, and misbehaves in every way that real ones do.

It is a real HTTP server in threads of the test process: the client under test meets sockets, not mocks.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CODE = "def reward(world, action):\n    return {'height': world.time}\n"
ANSWER = f"Here is the program.\n\n```python\n{CODE}```\n"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7}


@dataclass
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str] = field(repr=False)
    body: dict = field(repr=False)


@dataclass
class LLMServer:
    """The server's address, what it does next, and what it saw.

    Attributes:
        script: behaviours of the next requests by name; the last one stays.
        extra: header values and texts that behaviours use.
        reply: makes the answer from the request, in place of `text`.
    """

    script: list[str] = field(default_factory=lambda: ["answer"])
    seen: list[Seen] = field(default_factory=list)
    retry_after: str = "0"
    text: str = ANSWER
    reply: Callable[[dict], str] | None = None
    sent_bytes: int = 0
    base_url: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)

    def next_behaviour(self) -> str:
        """Takes the next behaviour from the script."""
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: LLMServer

    def log_message(self, *_: object) -> None:
        """Stays silent."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.state.seen.append(Seen(self.path, dict(self.headers.items()), body))
        self.close_connection = True
        with contextlib.suppress(OSError):
            getattr(self, f"_{self.state.next_behaviour()}")(body)

    # --- whole answers ------------------------------------------------------------------------------------
    def _answer(self, body: dict, finish: str = "stop", **message: object) -> None:
        message = message or {"content": self.state.text if self.state.reply is None else self.state.reply(body)}
        n = body.get("n", 1)
        if body.get("stream"):
            self._stream_start()
            for index in range(n):
                for piece in _pieces(message):
                    self._event({"choices": [{"index": index, "delta": piece}]})
                self._event({"choices": [{"index": index, "delta": {}, "finish_reason": finish}]})
            self._event({"choices": [], "usage": {**USAGE, "completion_tokens": 7 * n}})
            self._send(b"data: [DONE]\n\n")
        else:
            choices = [{"index": i, "message": message, "finish_reason": finish} for i in range(n)]
            self._json(200, {"id": "c1", "model": "served-model", "choices": choices, "usage": USAGE})

    def _refuse(self, body: dict) -> None:
        self._answer(body, content=None, refusal="I cannot help with that.")

    def _filtered(self, body: dict) -> None:
        self._answer(body, finish="content_filter", content="")

    def _truncated(self, body: dict) -> None:
        self._answer(body, finish="length", content="```python\ndef reward(world, acti")

    def _wrong_language(self, body: dict) -> None:
        self._answer(body, content='```json\n{"reward": 1}\n```')

    def _echo_key_in_answer(self, body: dict) -> None:
        self._answer(body, content=f"your header was {self.headers.get('Authorization')}")

    def _ignores_n(self, body: dict) -> None:
        self._answer({**body, "n": 1})

    def _done_but_open(self, body: dict) -> None:
        self._answer(body)
        self._hang()

    # --- bad bytes ----------------------------------------------------------------------------------------
    def _invalid_utf8(self, body: dict) -> None:
        self._plain(200, b'{"choices": [{"message": {"content": "\xff\xfe"}}]}', "application/json")

    def _invalid_json(self, body: dict) -> None:
        self._plain(200, b'{"choices": [', "application/json")

    def _invalid_sse(self, body: dict) -> None:
        self._plain(200, b"data: {oops\n\n", "text/event-stream")

    def _html(self, body: dict) -> None:
        self._plain(200, b"<html>Welcome</html>", "text/html")

    def _error_event(self, body: dict) -> None:
        self._stream_start()
        self._event({"error": {"message": "the model crashed", "code": 400}})

    def _fifty_megabytes(self, body: dict) -> None:
        self._stream_start()
        event = {"choices": [{"index": 0, "delta": {"content": "x" * 50_000}}]}
        for _ in range(1000):
            self._event(event)

    def _fifty_megabytes_one_line(self, body: dict) -> None:
        self._stream_start()
        for _ in range(1000):
            self._send(b"x" * 50_000)

    # --- silence ------------------------------------------------------------------------------------------
    def _hang(self, body: dict | None = None) -> None:
        self.state.stopping.wait(60)

    def _hang_in_stream(self, body: dict) -> None:
        self._stream_start()
        self._event({"choices": [{"index": 0, "delta": {"content": "def re"}}]})
        self._hang()

    def _drip(self, body: dict) -> None:
        self._stream_start()
        while not self.state.stopping.wait(0.05):
            self._send(b":")

    def _drip_headers(self, body: dict) -> None:
        self._send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self.state.stopping.wait(0.05):
            self._send(b"x")

    def _close(self, body: dict) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)

    def _close_in_stream(self, body: dict) -> None:
        self._stream_start()
        self._event({"choices": [{"index": 0, "delta": {"content": "def re"}}]})

    # --- statuses -----------------------------------------------------------------------------------------
    def _429(self, body: dict) -> None:
        self._json(429, {"error": {"message": "slow down"}}, {"Retry-After": self.state.retry_after})

    def _429_quota(self, body: dict) -> None:
        self._json(429, {"error": {"message": "no credit", "code": "insufficient_quota"}})

    def _500(self, body: dict) -> None:
        self._json(500, {"error": {"message": "boom"}}, {"Retry-After": "0"})

    def _503(self, body: dict) -> None:
        self._plain(503, b"upstream is away", "text/plain", {"Retry-After": "0"})

    def _400(self, body: dict) -> None:
        self._json(400, {"error": {"message": "bad field\x1b[31m 'temperature'", "type": "invalid_request"}})

    def _400_context(self, body: dict) -> None:
        text = "This model's maximum context length is 8192 tokens"
        self._json(400, {"error": {"message": text, "code": "context_length_exceeded"}})

    def _401(self, body: dict) -> None:
        header = self.headers.get("Authorization")
        text = f"Incorrect API key: {header}"
        self._json(401, {"error": {"message": text}}, {"X-Echo": str(header)})

    def _404(self, body: dict) -> None:
        self._json(404, {"error": {"message": "model not found"}})

    def _302(self, body: dict) -> None:
        self._plain(302, b"", "text/plain", {"Location": f"{self.state.base_url}/elsewhere"})

    # --- plumbing -----------------------------------------------------------------------------------------
    def _stream_start(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()

    def _event(self, value: dict) -> None:
        value = {"id": "c1", "model": "served-model", **value}
        self._send(b"data: " + json.dumps(value).encode() + b"\n\n")

    def _json(self, status: int, value: dict, headers: dict[str, str] | None = None) -> None:
        self._plain(status, json.dumps(value).encode(), "application/json", headers)

    def _plain(self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(data)

    def _send(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()
        self.state.sent_bytes += len(data)


def _pieces(message: dict) -> list[dict]:
    """Splits a message into the deltas of a stream."""
    key, text = next((k, v) for k, v in message.items() if v is not None)
    return [{key: text[i : i + 9]} for i in range(0, len(text), 9)]


@contextlib.contextmanager
def llm_server(*script: str) -> Iterator[LLMServer]:
    """Runs a server that behaves as scripted, one behaviour a request."""
    state = LLMServer(script=list(script or ["answer"]))
    handler = type("Handler", (_Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
