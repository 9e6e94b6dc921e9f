"""The wire of a twin that is reached over the network: listening sockets on a loopback address of its own.

What a client asks is always answered. Faults are those of a line: they happen to what the robot sends by itself.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from embodied.core.errors import RobotError
from robots.twin.wire import Faults

ADDRESSES = tuple(f"127.0.0.{i}" for i in range(2, 255))  # one twin each: vendors fix the ports
LOGGED_ONE_IN = 50  # of the messages that the robot sends by itself, hundreds a second


@dataclass(eq=False)
class Channel:
    """One client's connection.

    Attributes:
        port: on which it came.
        client: its socket.
        unsent: bytes that the client's socket had no room for, or that are late, with the time from which they may go.
    """

    port: int
    client: socket.socket
    unsent: deque[tuple[float, bytes]] = field(default_factory=deque)
    sent_by_itself: int = 0


Receive = Callable[[Channel, bytes | None], Sequence[bytes]]


class TcpWire:
    """The twin's end.

    Args:
        ports: to listen on.
        seed: of what goes wrong.
        log: JSON lines `{"t", "to", "port", "hex"}`, or None. Of what the robot sends by itself one message in
            `LOGGED_ONE_IN` is kept.

    Attributes:
        address: of this twin, such as `127.0.0.2`.
        faults: what goes wrong.

    Raises:
        RobotError: no loopback address has all ports free.
    """

    def __init__(self, ports: Sequence[int], seed: int = 0, log: Path | None = None) -> None:
        self.faults, self._rng = Faults(), np.random.default_rng(seed)
        self.address, self._listeners = _listen(ports)
        self._channels: list[Channel] = []
        self._log = open(log, "a", encoding="utf-8") if log else None  # noqa: SIM115 (closed in close)
        self.cut_off = False

    @property
    def pending(self) -> bool:
        """Whether bytes or clients wait."""
        sockets = [*self._listeners, *(c.client for c in self._channels)]
        return bool(sockets) and bool(select.select(sockets, [], [], 0.0)[0])

    def serve(self, receive: Receive, wait_s: float) -> None:
        """Once: waits up to `wait_s` for bytes, passes them on, sends the answers and what the robot has to say.

        Args:
            receive: told the channel and its bytes (b"" when it may say something by itself, None when the client has
                gone); gives whole messages to send.
            wait_s: at most.
        """
        clients = {c.client: c for c in self._channels}
        ready, _, _ = select.select([*self._listeners, *clients], [], [], wait_s)
        for one in ready:
            if one in clients:
                self._read(clients[one], receive)
            else:
                self._accept(one, receive)
        for channel in list(self._channels):
            self._say(channel, receive(channel, b""))
            self._flush(channel, receive)

    def cut(self) -> None:
        """Pulls the cable: every connection is reset, and nothing listens any more."""
        self.cut_off = True
        for channel in self._channels:  # closed at once, without waiting for what is still on its way
            channel.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            channel.client.close()
        for listener in self._listeners:
            listener.close()
        self._channels, self._listeners = [], []

    def close(self) -> None:
        """Ends the line."""
        self.cut()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _accept(self, listener: socket.socket, receive: Receive) -> None:
        client, _ = listener.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = Channel(listener.getsockname()[1], client)
        self._channels.append(channel)
        channel.unsent.extend((0.0, greeting) for greeting in receive(channel, b""))

    def _read(self, channel: Channel, receive: Receive) -> None:
        try:
            data = channel.client.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._gone(channel, receive)
            return
        self._note("robot", channel, data)
        for answer in receive(channel, data):
            self._note("host", channel, answer)
            channel.unsent.append((0.0, answer))

    def _say(self, channel: Channel, messages: Sequence[bytes]) -> None:
        """What the robot says by itself; this is where the line is faulty."""
        for message in messages:
            if self._rng.random() < self.faults.drop:
                continue
            if self._rng.random() < self.faults.corrupt:
                message = self._wronged(message)
            late = self._rng.random() < self.faults.late
            channel.unsent.append((time.monotonic() + self.faults.late_s if late else 0.0, message))
            if channel.sent_by_itself % LOGGED_ONE_IN == 0:
                self._note("host", channel, message)
            channel.sent_by_itself += 1

    def _flush(self, channel: Channel, receive: Receive) -> None:
        """Sends in order: what is late keeps what comes after it waiting, as on any stream."""
        while channel.unsent and channel.unsent[0][0] <= time.monotonic():
            data = channel.unsent[0][1]
            try:
                sent = channel.client.send(data)
            except BlockingIOError:
                return
            except OSError:
                self._gone(channel, receive)
                return
            if sent < len(data):
                channel.unsent[0] = (0.0, data[sent:])
                return
            channel.unsent.popleft()

    def _gone(self, channel: Channel, receive: Receive) -> None:
        if channel in self._channels:
            self._channels.remove(channel)
            channel.client.close()
            receive(channel, None)

    def _wronged(self, message: bytes) -> bytes:
        """One bit of the values is another: TCP's own checksum keeps the framing."""
        wrong = bytearray(message)
        wrong[int(self._rng.integers(4, len(wrong)))] ^= 1 << int(self._rng.integers(8))
        return bytes(wrong)

    def _note(self, to: str, channel: Channel, data: bytes) -> None:
        if self._log is not None:
            row = {"t": round(time.monotonic(), 6), "to": to, "port": channel.port, "hex": data.hex()}
            self._log.write(json.dumps(row) + "\n")
            self._log.flush()


def _listen(ports: Sequence[int]) -> tuple[str, list[socket.socket]]:
    """All ports on the first loopback address that has them free."""
    for address in ADDRESSES:
        with contextlib.ExitStack() as opened:
            try:
                found = [opened.enter_context(socket.create_server((address, port))) for port in ports]
            except OSError:
                continue
            opened.pop_all()
            return address, found
    raise RobotError(
        f"no loopback address from {ADDRESSES[0]} to {ADDRESSES[-1]} has the ports {', '.join(map(str, ports))} free:"
        " end other twins, or what else listens on these ports (ss -ltnp shows it)"
    )
