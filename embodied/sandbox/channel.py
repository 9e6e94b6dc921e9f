"""Messages between a locked process and its parent: JSON lines, and arrays as raw bytes behind a JSON header.

Nothing is pickled. Both sides cap what they accept; a line that is too long, not JSON, or announces a type
other than a plain number array ends the conversation with `ProtocolError`.
"""

from __future__ import annotations

import json
import math
import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

MAX_MESSAGE_BYTES = 1 << 20
MAX_ARRAY_BYTES = 256 << 20
MAX_ARRAYS = 64
BEAT_INTERVAL_S = 0.2


class ProtocolError(Exception):
    """The other side sent something that is not a message."""


class ChannelClosed(Exception):
    """The other side is gone."""


def encode(kind: str, data: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> list[bytes]:
    """One message as buffers to be written in order.

    Raises:
        ValueError: an array is not a plain number array, or the message is too long.
    """
    header: dict[str, Any] = {"type": kind, "data": dict(data)}
    buffers = []
    if arrays is not None:
        header["arrays"] = []
        for name, value in arrays.items():
            array = np.ascontiguousarray(value).reshape(np.shape(value))
            if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
                raise ValueError(f"array '{name}' has dtype {array.dtype}; only plain numbers are sent")
            header["arrays"].append({"name": name, "dtype": array.dtype.str, "shape": list(array.shape)})
            buffers.append(array.tobytes())
    line = json.dumps(header, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_MESSAGE_BYTES:
        raise ValueError(f"message of {len(line)} bytes; the limit is {MAX_MESSAGE_BYTES}. Send arrays, or a file")
    return [line, *buffers]


class Decoder:
    """Turns the bytes of a pipe into messages `(type, data)`; arrays are in `data['arrays']`."""

    def __init__(self, max_message_bytes: int = MAX_MESSAGE_BYTES, max_array_bytes: int = MAX_ARRAY_BYTES) -> None:
        self.max_message_bytes, self.max_array_bytes = max_message_bytes, max_array_bytes
        self._buffer = bytearray()
        self._header: dict | None = None
        self._specs: list[tuple[str, np.dtype, tuple[int, ...], int]] = []
        self._needed = 0

    def feed(self, data: bytes) -> Iterator[tuple[str, dict]]:
        """Takes more bytes and yields the messages that are complete.

        Raises:
            ProtocolError: what came is not a message, or is too large.
        """
        self._buffer += data
        while True:
            if self._header is None:
                end = self._buffer.find(b"\n")
                if end > self.max_message_bytes or (end < 0 and len(self._buffer) > self.max_message_bytes):
                    raise ProtocolError(f"a message is longer than {self.max_message_bytes} bytes")
                if end < 0:
                    return
                self._open(bytes(self._buffer[:end]))
                del self._buffer[: end + 1]
            if len(self._buffer) < self._needed:
                return
            yield self._close()

    def _open(self, line: bytes) -> None:
        try:
            header = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"a line is not JSON: {str(error)[:80]}") from None
        if not isinstance(header, dict) or not isinstance(header.get("type"), str):
            raise ProtocolError("a message has no type")
        if not isinstance(header.get("data"), dict):
            raise ProtocolError("a message has no data")
        specs = header.get("arrays", [])
        if not isinstance(specs, list) or len(specs) > MAX_ARRAYS:
            raise ProtocolError("a message's list of arrays is not valid")
        self._specs = [_array_spec(spec) for spec in specs]
        self._needed = sum(size for *_, size in self._specs)
        if self._needed > self.max_array_bytes:
            raise ProtocolError(f"arrays of {self._needed} bytes; the limit is {self.max_array_bytes}")
        self._header = header

    def _close(self) -> tuple[str, dict]:
        assert self._header is not None
        kind, data = self._header["type"], self._header["data"]
        if "arrays" in self._header:
            data["arrays"] = {}
        offset = 0
        for name, dtype, shape, size in self._specs:
            flat = np.frombuffer(self._buffer[offset : offset + size], dtype=dtype)
            data["arrays"][name] = flat.reshape(shape)
            offset += size
        del self._buffer[:offset]
        self._header, self._specs, self._needed = None, [], 0
        return kind, data


def _array_spec(spec: Any) -> tuple[str, np.dtype, tuple[int, ...], int]:
    try:
        name, shape, text = spec["name"], tuple(spec["shape"]), spec["dtype"]
        if not isinstance(name, str) or not isinstance(text, str) or len(text) > 8 or len(shape) > 8:
            raise ValueError
        if not all(type(n) is int and 0 <= n < 2**40 for n in shape):
            raise ValueError
        dtype = np.dtype(text)
    except (TypeError, ValueError, KeyError):
        raise ProtocolError("an array's header is not valid") from None
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ProtocolError(f"an array has dtype {dtype}; only plain numbers are taken")
    return name, dtype, shape, math.prod(shape) * dtype.itemsize


def write_all(fd: int, buffers: list[bytes]) -> None:
    """Writes buffers to a blocking descriptor; raises `ChannelClosed` when nobody reads any more."""
    try:
        for buffer in buffers:
            view = memoryview(buffer)
            while view:
                view = view[os.write(fd, view[: 1 << 20]) :]
    except (BrokenPipeError, ConnectionError):
        raise ChannelClosed("the parent is gone") from None


class Channel:
    """The locked process's end. Calls may come from several threads."""

    def __init__(self, in_fd: int, out_fd: int) -> None:
        self._in, self._out = in_fd, out_fd
        self._decoder = Decoder()
        self._inbox: deque[dict] = deque()
        self._lock = threading.Lock()
        self._last_beat = 0.0
        self._stop = False

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends plain JSON values to the parent."""
        self.emit("message", message)

    def send_arrays(self, message: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Sends a message with arrays of plain numbers."""
        self.emit("message", message, arrays)

    def beat(self) -> None:
        """Tells the parent that work goes on. Cheap: at most five are sent a second."""
        now = time.monotonic()
        if now - self._last_beat >= BEAT_INTERVAL_S:
            self._last_beat = now
            self.emit("beat", {})

    def receive(self, timeout_s: float | None = None) -> dict | None:
        """The parent's next message; arrays, if any, are in `['arrays']`.

        Beats while it waits. Returns None after `timeout_s`, or when the parent asks to stop.

        Raises:
            ChannelClosed: the parent is gone.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._inbox:
            if self._stop:
                return None
            wait_s = BEAT_INTERVAL_S * 2 if end is None else min(BEAT_INTERVAL_S * 2, end - time.monotonic())
            self._pump(max(0.0, wait_s))
            self.beat()
            if end is not None and time.monotonic() >= end and not self._inbox:
                return None
        return self._inbox.popleft()

    def receive_arrays(self, timeout_s: float | None = None) -> tuple[dict, dict[str, np.ndarray]] | None:
        """Like `receive`, as `(message, arrays)`."""
        message = self.receive(timeout_s)
        return None if message is None else (message, message.pop("arrays", {}))

    @property
    def stop_requested(self) -> bool:
        """Whether the parent asked to come to an end. Looks, never waits."""
        if not self._stop:
            self._pump(0.0)
        return self._stop

    def _pump(self, wait_s: float) -> None:
        poll = select.poll()
        poll.register(self._in, select.POLLIN)
        if not poll.poll(math.ceil(wait_s * 1000)):
            return
        data = os.read(self._in, 1 << 20)
        if not data:
            raise ChannelClosed("the parent is gone")
        for kind, message in self._decoder.feed(data):
            if kind == "stop":
                self._stop = True
            else:
                self._inbox.append(message)

    def emit(self, kind: str, data: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Sends a message of any type; `send` and `beat` are built on it."""
        buffers = encode(kind, data, arrays)
        with self._lock:
            write_all(self._out, buffers)
            self._last_beat = time.monotonic()
