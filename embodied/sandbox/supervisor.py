"""The parent's watch over one locked child: reads its pipes, enforces its limits, and states its end."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from embodied.sandbox.channel import Decoder, ProtocolError

TAIL_BYTES = 16 * 1024
MAX_QUEUED = 256
_POLL_S = 0.05
_DRAIN_S = 1.0


@dataclass(frozen=True)
class End:
    """How a process ended.

    Attributes:
        kind: `finished` (run returned), `error` (run raised), `signal` (the kernel ended it, e.g. SIGSYS for
            a forbidden call), `exit` (it left without a word), `killed` (by us, `detail` says why), `stopped`
            (by us, because the caller asked) or `infrastructure` (it never was ready).
        detail: one line for people.
        exit_code: exit code, when it exited.
        signal: name of the signal, when one ended it.
        result: what `run` returned, when it finished.
        stdout: the last 16 KiB.
        stderr: the last 16 KiB.
    """

    kind: str
    detail: str
    exit_code: int | None = None
    signal: str | None = None
    result: Any = None
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        """Whether `run` returned."""
        return self.kind == "finished"


@dataclass
class State:
    """What the caller's thread and the supervisor share, under `changed`."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    messages: deque[dict] = field(default_factory=deque)
    report: dict | None = None
    end: End | None = None
    asked: str | None = None
    job_deadline: float | None = None


@dataclass(frozen=True)
class Watch:
    """The limits that the parent enforces; see `LockedProcess`."""

    heartbeat_s: float | None
    deadline_s: float | None
    startup_s: float
    max_output_bytes: int
    max_array_bytes: int


class Supervisor(threading.Thread):
    """Watches one child until it is gone."""

    def __init__(self, process: subprocess.Popen, read_fd: int, state: State, watch: Watch) -> None:
        super().__init__(daemon=True, name=f"locked-{process.pid}")
        self.process, self.read_fd, self.state, self.watch = process, read_fd, state, watch
        self.decoder = Decoder(max_array_bytes=watch.max_array_bytes)
        self.tails = {"stdout": bytearray(), "stderr": bytearray()}
        self.output_bytes = 0
        self.began = self.last = time.monotonic()
        self.reason: str | None = None
        self.last_word: tuple[str, dict] = ("", {})

    def kill(self, reason: str | None = None) -> None:
        """Kills the child's process group; the first reason given is the one that is told."""
        self.reason = self.reason or reason
        with self.state.changed:
            if self.process.returncode is None:
                try:
                    os.killpg(self.process.pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    self.process.kill()

    def run(self) -> None:
        """Until the child is gone and its pipes are empty."""
        try:
            self._watch_child()
        except BaseException as error:  # a fault of ours: never leave a child without a watch, or a caller waiting
            self.kill(f"the supervisor failed: {type(error).__name__}: {error}")
            raise
        finally:
            self._finish()

    def _watch_child(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        selector = selectors.DefaultSelector()
        selector.register(self.process.stdout, selectors.EVENT_READ, "stdout")
        selector.register(self.process.stderr, selectors.EVENT_READ, "stderr")
        gone_at = None
        while True:
            self._read(selector, wait_s=0.0 if gone_at else _POLL_S)
            if gone_at is None and self._is_gone():
                gone_at = time.monotonic()
                self.kill()  # whatever its trusted start may have left in the group
            if gone_at is None:
                self._enforce()
            elif not self._open(selector) or time.monotonic() - gone_at > _DRAIN_S:
                break
        selector.close()

    def _open(self, selector: selectors.BaseSelector) -> bool:
        return bool(selector.get_map()) or (self.read_fd >= 0 and len(self.state.messages) < MAX_QUEUED)

    def _read(self, selector: selectors.BaseSelector, wait_s: float) -> None:
        """One round over the pipes. Messages that the caller does not take stay in the child's pipe."""
        full = len(self.state.messages) >= MAX_QUEUED
        if self.read_fd >= 0:
            registered = self.read_fd in selector.get_map()
            if full and registered:
                selector.unregister(self.read_fd)
            elif not full and not registered:
                selector.register(self.read_fd, selectors.EVENT_READ, "channel")
        if full:
            self.last = time.monotonic()
        if not selector.get_map():
            time.sleep(_POLL_S)
        for key, _ in selector.select(timeout=wait_s) if selector.get_map() else ():
            data = os.read(key.fd, 1 << 18)
            if not data:
                selector.unregister(key.fileobj)
                if key.data == "channel":
                    os.close(self.read_fd)
                    self.read_fd = -1
            elif key.data == "channel":
                self._channel(data)
            else:
                self._output(key.data, data)

    def _is_gone(self) -> bool:
        """Whether the child has ended; it stays a zombie, so that its id cannot become another process's."""
        found = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        return found is not None

    def _channel(self, data: bytes) -> None:
        if self.reason is not None:
            return
        self.last = time.monotonic()
        try:
            for kind, message in self.decoder.feed(data):
                self._message(kind, message)
        except ProtocolError as error:
            self.kill(f"garbled message: {error}")

    def _message(self, kind: str, message: dict) -> None:
        state = self.state
        if kind in ("failed", "error", "end"):
            self.last_word = (kind, message)
        elif kind == "ready" and state.report is None and isinstance(message.get("report"), dict):
            self.began = self.last
            with state.changed:
                state.report = message["report"]
                state.changed.notify_all()
        elif kind == "message":
            with state.changed:
                state.messages.append(message)
                state.changed.notify_all()
        elif kind != "beat":
            raise ProtocolError(f"a message of unknown type {kind[:20]!r}")

    def _output(self, name: str, data: bytes) -> None:
        self.output_bytes += len(data)
        self.tails[name] = (self.tails[name] + data)[-TAIL_BYTES:]
        if self.output_bytes > self.watch.max_output_bytes:
            self.kill(f"more than {self.watch.max_output_bytes} bytes of output")

    def _enforce(self) -> None:
        now, watch, job_deadline = time.monotonic(), self.watch, self.state.job_deadline
        if self.reason is not None:
            return
        if self.state.report is None:
            if now - self.began > watch.startup_s:
                self.kill(f"not ready after {watch.startup_s:g} s")
        elif watch.deadline_s is not None and now - self.began > watch.deadline_s:
            self.kill(f"the deadline of {watch.deadline_s:g} s has passed")
        elif job_deadline is not None and now > job_deadline:
            self.kill("no answer within the deadline of its job")
        elif watch.heartbeat_s is not None and now - self.last > watch.heartbeat_s:
            self.kill(f"silent for {watch.heartbeat_s:g} s")

    def _finish(self) -> None:
        with self.state.changed:
            code = self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        if self.read_fd >= 0:
            os.close(self.read_fd)
        ended = replace(
            self._verdict(code),
            exit_code=code if code >= 0 else None,
            signal=_signal_name(-code) if code < 0 else None,
            stdout=_text(self.tails["stdout"]),
            stderr=_text(self.tails["stderr"]),
        )
        with self.state.changed:
            self.state.end = ended
            self.state.changed.notify_all()

    def _verdict(self, code: int) -> End:
        word, data = self.last_word
        if self.state.report is None:
            stage = f"{data.get('stage')}: {data.get('text')}" if word == "failed" else ""
            how = f"it ended by {_signal_name(-code)}" if code < 0 else f"it left with code {code}"
            return End("infrastructure", self.reason or stage or f"{how} before it was ready")
        if self.reason is not None:
            return End("killed", self.reason)
        if word == "end" and (code == 0 or self.state.asked is not None):
            return End("finished", "finished", result=data.get("result"))
        if word == "error" and code == 1:
            return End("error", str(data.get("text"))[:4000])
        if self.state.asked is not None and code == -signal.SIGKILL:
            return End("stopped", self.state.asked)
        if code < 0:
            return End("signal", f"ended by {_signal_name(-code)}")
        return End("exit", f"left with code {code} without finishing")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _text(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
