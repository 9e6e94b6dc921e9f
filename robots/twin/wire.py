"""The wire of a serial twin: a pseudo terminal whose bytes can be lost, late, wrong, or cut off, and are logged."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.errors import ConfigError


@dataclass
class Faults:
    """Shares of packets that something happens to, per direction and independently.

    Attributes:
        corrupt: one bit is flipped.
        drop: the robot's packet never comes.
        late: it comes `late_s` later.
        late_s: [s].
    """

    corrupt: float = 0.0
    drop: float = 0.0
    late: float = 0.0
    late_s: float = 0.06

    def set(self, **given: float) -> None:
        """Changes some."""
        for name, value in given.items():
            if not hasattr(self, name):
                raise ConfigError(f"no wire fault '{name}'; known: {', '.join(vars(self))}")
            setattr(self, name, float(value))


@dataclass
class SerialFaults(Faults):
    """Those of a serial line.

    Attributes:
        echo_noise: a stray byte comes before the reply.
    """

    echo_noise: float = 0.0


@dataclass
class PtyWire:
    """The twin's end.

    Attributes:
        faults: what goes wrong.
        seed: of what goes wrong.
        log: JSON lines `{"t", "to", "hex"}`, or None.
    """

    faults: SerialFaults = field(default_factory=SerialFaults)
    seed: int = 0
    log: Path | None = None

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._late: list[tuple[float, bytes]] = []
        self._log = open(self.log, "a", encoding="utf-8") if self.log else None  # noqa: SIM115 (closed in close)
        self.cut_off = False

    def serve(self, receive: Callable[[bytes], bytes], wait_s: float) -> None:
        """Waits up to `wait_s` for bytes, passes them on, sends what comes back (later, where a fault says so)."""
        now_s = time.monotonic()
        for due, reply in [item for item in self._late if item[0] <= now_s]:
            self._late.remove((due, reply))
            self._write(reply, now_s)
        if self.cut_off:
            select.select([], [], [], wait_s)
            return
        ready, _, _ = select.select([self._master], [], [], wait_s)
        if not ready:
            return
        data = os.read(self._master, 4096)
        self._note("robot", data, now_s)
        reply = receive(self._wronged(data))
        if not reply or self._rng.random() < self.faults.drop:
            return
        reply = self._wronged(reply)
        if self._rng.random() < self.faults.echo_noise:
            reply = bytes([int(self._rng.integers(256))]) + reply
        if self._rng.random() < self.faults.late:
            self._late.append((now_s + self.faults.late_s, reply))
        else:
            self._write(reply, now_s)

    @property
    def pending(self) -> bool:
        """Whether bytes wait to be read."""
        return not self.cut_off and bool(select.select([self._master], [], [], 0.0)[0])

    def cut(self) -> None:
        """Pulls the cable: both ends of the line close."""
        if not self.cut_off:
            self.cut_off = True
            for fd in (self._master, self._slave):
                os.close(fd)

    def close(self) -> None:
        """Ends the line."""
        self.cut()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _write(self, data: bytes, now_s: float) -> None:
        if not self.cut_off:
            self._note("host", data, now_s)
            with contextlib.suppress(OSError):
                os.write(self._master, data)

    def _wronged(self, data: bytes) -> bytes:
        if self.faults.corrupt <= 0.0 or self._rng.random() >= self.faults.corrupt:
            return data
        wrong = bytearray(data)
        wrong[int(self._rng.integers(len(wrong)))] ^= 1 << int(self._rng.integers(8))
        return bytes(wrong)

    def _note(self, to: str, data: bytes, now_s: float) -> None:
        if self._log is not None:
            row: dict[str, Any] = {"t": round(now_s, 6), "to": to, "hex": data.hex()}
            self._log.write(json.dumps(row) + "\n")
            self._log.flush()
