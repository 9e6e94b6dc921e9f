"""The parent's side: start a locked process, talk to it, and end it when it hangs, floods or dies.

A thread of the parent reads the child's messages and output and enforces its deadlines, so that they hold while
the caller does something else. The only means is SIGKILL of the child's process group: nothing inside the child
is asked to cooperate.

Two kinds of bad news are kept apart. `SandboxError` means that the lock could not be set or the trusted part
failed: it says nothing about a program. `End` says how a process that had been locked came to its end.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import embodied
from embodied.core.errors import SandboxError
from embodied.sandbox.channel import MAX_ARRAY_BYTES, ChannelClosed, Decoder, ProtocolError, encode, write_all
from embodied.sandbox.lock import ENVIRONMENT, Limits

TAIL_BYTES = 16 * 1024
MAX_QUEUED = 256
_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); from embodied.sandbox.worker import main;"
    " main(*map(int, sys.argv[2:5]))"
)


@dataclass(frozen=True)
class End:
    """How a process ended.

    Attributes:
        kind: `finished` (run returned), `error` (run raised), `signal` (the kernel ended it, e.g. SIGSYS for a
            forbidden call), `exit` (it left without a word), `killed` (by us, `detail` says why), `stopped` (by
            us, because the caller asked) or `infrastructure` (it never was ready).
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


class LockedProcess:
    """One worker process under a lock.

    Use as a context manager, or call `start` and `close`. `start` only spawns, so that several processes can get
    ready at the same time; `wait_ready` waits for one.

    Args:
        entry: `package.module` or `package.module:object` with `prepare(request)` and `run(context, channel)`.
        request: plain JSON values for `prepare`. May hold program sources; they are data until the lock is set.
        lock: `trainer` or `light`.
        run_folder: the only folder that the process may write; the trainer lock needs one.
        limits: resource limits; the kind's own when None.
        heartbeat_s: longest silence after it is ready; None for no limit.
        deadline_s: longest life after it is ready; None for no limit.
        startup_s: longest time until it is ready.
        packages: packages trusted for entries, besides `embodied`.
        import_paths: trusted folders where those packages lie.
        readable: files and folders that it may read after the lock.
        allow_missing: mandatory layers that may be absent; see `apply_lock`.
        jit: allow executable memory; see `apply_lock`.
        max_output_bytes: standard output and error together; more ends the process.
        max_array_bytes: arrays of one message.
    """

    def __init__(
        self,
        entry: str,
        request: Mapping[str, Any],
        *,
        lock: str = "light",
        run_folder: Path | str | None = None,
        limits: Limits | None = None,
        heartbeat_s: float | None = 60.0,
        deadline_s: float | None = None,
        startup_s: float = 120.0,
        packages: Sequence[str] = (),
        import_paths: Sequence[Path | str] = (),
        readable: Sequence[Path | str] = (),
        allow_missing: Collection[str] = (),
        jit: bool = False,
        max_output_bytes: int = 16 << 20,
        max_array_bytes: int = MAX_ARRAY_BYTES,
    ) -> None:
        limits = limits or Limits.of(lock)
        if lock == "trainer" and run_folder is None:
            raise SandboxError("the trainer lock needs run_folder, the one folder that it may write")
        self.entry, self.lock = entry, lock
        self.heartbeat_s, self.deadline_s, self.startup_s = heartbeat_s, deadline_s, startup_s
        self._order = {
            "entry": entry,
            "request": dict(request),
            "lock": lock,
            "run_folder": None if run_folder is None else str(Path(run_folder).resolve()),
            "limits": asdict(limits),
            "packages": list(packages),
            "import_paths": [str(Path(p).resolve()) for p in import_paths],
            "readable": [str(Path(p).resolve()) for p in readable],
            "allow_missing": list(allow_missing),
            "jit": jit,
        }
        self._max_output_bytes, self._max_array_bytes = max_output_bytes, max_array_bytes
        self._changed = threading.Condition()
        self._messages: deque[dict] = deque()
        self._report: dict | None = None
        self._end: End | None = None
        self._process: subprocess.Popen | None = None
        self._write_fd = -1
        self._asked: str | None = None
        self._supervisor: _Supervisor | None = None

    # ---- life

    def start(self) -> LockedProcess:
        """Spawns the process and hands it the request. Main thread only.

        Raises:
            SandboxError: called from another thread: the child would die with that thread, not with the parent.
        """
        if threading.current_thread() is not threading.main_thread():
            raise SandboxError(
                "a locked process must be started from the main thread: it dies with the thread that made it"
            )
        if self._process is not None:
            raise SandboxError("this locked process was started already")
        child_in, self._write_fd = os.pipe()
        read_fd, child_out = os.pipe()
        root = str(Path(embodied.__file__).resolve().parents[1])
        command = [sys.executable, "-I", "-c", _BOOT, root, str(child_in), str(child_out), str(os.getpid())]
        try:
            self._process = subprocess.Popen(
                command,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(child_in, child_out),
                start_new_session=True,
                cwd=self._order["run_folder"] or "/",
            )
        except OSError as error:
            for fd in (self._write_fd, read_fd):
                os.close(fd)
            raise SandboxError(f"the worker process could not be started: {error}") from None
        finally:
            os.close(child_in)
            os.close(child_out)
        self._supervisor = _Supervisor(self, self._process, read_fd)
        self._supervisor.start()
        self._write("order", self._order)
        return self

    def wait_ready(self) -> dict:
        """Waits until the process is locked and returns the lock's report.

        Raises:
            SandboxError: it did not get ready. This is never a verdict on a program.
        """
        if self._process is None:
            self.start()
        with self._changed:
            self._changed.wait_for(lambda: self._report is not None or self._end is not None)
            if self._report is None:
                assert self._end is not None
                tail = f"\n{self._end.stderr[-2000:]}" if self._end.stderr else ""
                raise SandboxError(f"the locked process for '{self.entry}' did not start: {self._end.detail}{tail}")
            return dict(self._report)

    def __enter__(self) -> LockedProcess:
        try:
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self, grace_s: float = 10.0) -> End:
        """Asks the process to come to an end; kills it after `grace_s`."""
        try:
            self._write("stop", {})
        except ChannelClosed:
            pass
        with self._changed:
            self._changed.wait_for(lambda: self._end is not None, timeout=grace_s)
        return self.close()

    def kill(self, why: str = "killed by the caller") -> None:
        """Kills the process group at once."""
        if self._asked is None:
            self._asked = why
        if self._process is not None and self._end is None:
            _kill_group(self._process)

    def close(self) -> End:
        """Kills the process if it lives, waits for its end, and returns it."""
        if self._process is None:
            return End("infrastructure", "never started")
        self.kill()
        end = self.wait()
        if self._supervisor is not None:
            self._supervisor.join()
        if self._write_fd >= 0:
            os.close(self._write_fd)
            self._write_fd = -1
        return end

    def wait(self, timeout_s: float | None = None) -> End:
        """Waits for the end.

        Raises:
            TimeoutError: it lives still.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._end is not None, timeout=timeout_s):
                raise TimeoutError(f"the locked process lives still after {timeout_s} s")
            assert self._end is not None
            return self._end

    # ---- facts

    @property
    def report(self) -> dict | None:
        """The lock's report, once the process is ready."""
        return None if self._report is None else dict(self._report)

    @property
    def end(self) -> End | None:
        """How the process ended, or None while it lives."""
        return self._end

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return None if self._process is None else self._process.pid

    # ---- messages

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends plain JSON values to the process; raises `ChannelClosed` when it is gone."""
        self._write("message", message)

    def send_arrays(self, message: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Sends a message with arrays of plain numbers."""
        self._write("message", message, arrays)

    def receive(self, timeout_s: float | None = None) -> dict | None:
        """The next message (arrays, if any, are in `['arrays']`); None after `timeout_s` or at the end."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._messages) or self._end is not None, timeout=timeout_s)
            if not self._messages:
                return None
            message = self._messages.popleft()
            self._changed.notify_all()
            return message

    def receive_arrays(self, timeout_s: float | None = None) -> tuple[dict, dict[str, np.ndarray]] | None:
        """Like `receive`, as `(message, arrays)`."""
        message = self.receive(timeout_s)
        return None if message is None else (message, message.pop("arrays", {}))

    def messages(self) -> Iterator[dict]:
        """All messages until the end; then look at `end`."""
        while (message := self.receive()) is not None:
            yield message

    def request(
        self,
        message: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray] | None = None,
        *,
        deadline_s: float,
    ) -> dict | End:
        """Sends one job and waits for one answer: what a pre-forked, waiting process is for.

        Returns:
            The answer, or the end of the process when it died or did not answer within `deadline_s` (it is
            killed then, since nothing else can be believed to stop it).
        """
        try:
            self._write("message", message, arrays)
        except ChannelClosed:
            return self.wait()
        answer = self.receive(deadline_s)
        if answer is not None:
            return answer
        if self._end is None:
            self._kill_for(f"no answer within {deadline_s:g} s")
        return self.wait()

    # ---- inside

    def _write(self, kind: str, data: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        if self._write_fd < 0 or self._end is not None:
            raise ChannelClosed("the locked process is gone")
        write_all(self._write_fd, encode(kind, data, arrays))

    def _kill_for(self, reason: str) -> None:
        if self._supervisor is not None:
            self._supervisor.kill(reason)


class _Supervisor(threading.Thread):
    """Reads one child's pipes, enforces its limits, and states its end."""

    def __init__(self, owner: LockedProcess, process: subprocess.Popen, read_fd: int) -> None:
        super().__init__(daemon=True, name=f"locked-{process.pid}")
        self.owner, self.process, self.read_fd = owner, process, read_fd
        self.decoder = Decoder(max_array_bytes=owner._max_array_bytes)
        self.tails = {"stdout": bytearray(), "stderr": bytearray()}
        self.output_bytes = 0
        self.began = self.last = time.monotonic()
        self.reason: str | None = None
        self.last_word: tuple[str, dict] | None = None

    def kill(self, reason: str) -> None:
        """Kills the child; the first reason given is the one that is told."""
        if self.reason is None:
            self.reason = reason
        _kill_group(self.process)

    def run(self) -> None:
        """Until the child has closed its pipes and is gone."""
        selector = selectors.DefaultSelector()
        assert self.process.stdout is not None and self.process.stderr is not None
        sources = {
            self.read_fd: "channel",
            self.process.stdout.fileno(): "stdout",
            self.process.stderr.fileno(): "stderr",
        }
        for fd, name in sources.items():
            selector.register(fd, selectors.EVENT_READ, name)
        paused = False
        while selector.get_map():
            full = len(self.owner._messages) >= MAX_QUEUED and self.reason is None
            if full != paused and self.read_fd in selector.get_map():
                selector.modify(self.read_fd, 0 if full else selectors.EVENT_READ, "channel") if not full else None
            paused = full
            for key, _ in selector.select(timeout=0.1):
                if key.data == "channel" and paused:
                    time.sleep(0.01)  # the caller does not take its messages; the child waits in its pipe
                    self.last = time.monotonic()
                    continue
                data = os.read(key.fd, 1 << 18)
                if not data:
                    selector.unregister(key.fd)
                elif key.data == "channel":
                    self._channel(data)
                else:
                    self._output(key.data, data)
            self._limits()
        self.process.wait()
        self._finish()

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
        owner = self.owner
        if kind in ("failed", "error", "end"):
            self.last_word = (kind, message)
        elif kind == "ready" and owner._report is None and isinstance(message.get("report"), dict):
            self.began = self.last
            with owner._changed:
                owner._report = message["report"]
                owner._changed.notify_all()
        elif kind == "message":
            with owner._changed:
                owner._messages.append(message)
                owner._changed.notify_all()
        elif kind != "beat":
            raise ProtocolError(f"a message of unknown type {kind[:20]!r}")

    def _output(self, name: str, data: bytes) -> None:
        self.output_bytes += len(data)
        self.tails[name] = (self.tails[name] + data)[-TAIL_BYTES:]
        if self.output_bytes > self.owner._max_output_bytes:
            self.kill(f"more than {self.owner._max_output_bytes} bytes of output")

    def _limits(self) -> None:
        now, owner = time.monotonic(), self.owner
        if self.reason is not None:
            return
        if owner._report is None:
            if now - self.began > owner.startup_s:
                self.kill(f"not ready after {owner.startup_s:g} s")
        elif owner.deadline_s is not None and now - self.began > owner.deadline_s:
            self.kill(f"the deadline of {owner.deadline_s:g} s has passed")
        elif owner.heartbeat_s is not None and now - self.last > owner.heartbeat_s:
            self.kill(f"silent for {owner.heartbeat_s:g} s")

    def _finish(self) -> None:
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        os.close(self.read_fd)
        code = self.process.returncode
        ended = replace(
            self._verdict(code),
            exit_code=code if code >= 0 else None,
            signal=_signal_name(-code) if code < 0 else None,
            stdout=_text(self.tails["stdout"]),
            stderr=_text(self.tails["stderr"]),
        )
        with self.owner._changed:
            self.owner._end = ended
            self.owner._changed.notify_all()

    def _verdict(self, code: int) -> End:
        word, data = self.last_word or ("", {})
        if self.owner._report is None:
            stage = f"{data.get('stage')}: {data.get('text')}" if word == "failed" else ""
            how = f"it ended by {_signal_name(-code)}" if code < 0 else f"it left with code {code}"
            return End("infrastructure", self.reason or stage or f"{how} before it was ready")
        if self.reason is not None:
            return End("killed", self.reason)
        if word == "end" and code == 0:
            return End("finished", "finished", result=data.get("result"))
        if word == "error" and code == 1:
            return End("error", str(data.get("text"))[:4000])
        if self.owner._asked is not None and code == -signal.SIGKILL:
            return End("stopped", self.owner._asked)
        if code < 0:
            return End("signal", f"ended by {_signal_name(-code)}")
        return End("exit", f"left with code {code} without finishing")


def _kill_group(process: subprocess.Popen) -> None:
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _text(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
