"""The parent's side: start a locked process, talk to it, and end it when it hangs, floods or dies.

A thread of the parent reads the child's messages and output and enforces its deadlines, so that they hold
while the caller does something else. The only means is SIGKILL of the child's process group: nothing inside
the child is asked to cooperate.

Two kinds of bad news are kept apart. `SandboxError` means that the lock could not be set or the trusted part
failed: it says nothing about a program. `End` says how a process that had been locked came to its end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import embodied
from embodied.core.errors import SandboxError
from embodied.sandbox.channel import MAX_ARRAY_BYTES, ChannelClosed, encode, write_all
from embodied.sandbox.lock import ENVIRONMENT, Limits, check_layer_names
from embodied.sandbox.supervisor import End, State, Supervisor, Watch

__all__ = ["End", "Limits", "LockedProcess"]

# This process's own package comes before an installed one, and after the standard library.
_BOOT = (
    "import sys; at = [i for i, p in enumerate(sys.path) if p.endswith('-packages')];"
    " sys.path.insert(at[0] if at else len(sys.path), sys.argv[1]);"
    " from embodied.sandbox.worker import main; main(*map(int, sys.argv[2:5]))"
)


class LockedProcess:
    """One worker process under a lock.

    Use as a context manager, or call `start` and `close`. `start` only spawns, so that several processes
    can get ready at the same time; `wait_ready` waits for one.

    Args:
        entry: `package.module` or `package.module:object`, with `prepare(request)` and
            `run(context, channel)`; see `embodied.sandbox.worker`.
        request: plain JSON values for `prepare`. May hold program sources: they are data until the lock is
            set.
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
        check_layer_names(allow_missing)
        if lock == "trainer" and run_folder is None:
            raise SandboxError("the trainer lock needs run_folder, the one folder that it may write")
        self.entry, self.lock = entry, lock
        self._watch = Watch(heartbeat_s, deadline_s, startup_s, max_output_bytes, max_array_bytes)
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
        self._state = State()
        self._process: subprocess.Popen | None = None
        self._supervisor: Supervisor | None = None
        self._write_fd = -1

    # ---- life

    def start(self) -> LockedProcess:
        """Spawns the process and hands it the request. Main thread only.

        Raises:
            SandboxError: called from another thread: the child would die with that thread, not with the
            parent.
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
        self._supervisor = Supervisor(self._process, read_fd, self._state, self._watch)
        self._supervisor.start()
        with contextlib.suppress(ChannelClosed):  # it died at once; wait_ready tells how
            self._write("order", self._order)
        return self

    def wait_ready(self) -> dict:
        """Waits until the process is locked and returns the lock's report.

        Raises:
            SandboxError: it did not get ready. This is never a verdict on a program.
        """
        if self._process is None:
            self.start()
        state = self._state
        with state.changed:
            state.changed.wait_for(lambda: state.report is not None or state.end is not None)
            if state.report is not None:
                return dict(state.report)
            assert state.end is not None
            tail = f"\n{state.end.stderr[-2000:]}" if state.end.stderr else ""
        raise SandboxError(f"the locked process for '{self.entry}' did not start: {state.end.detail}{tail}")

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
        with contextlib.suppress(ChannelClosed):
            self._write("stop", {})
        with self._state.changed:
            self._state.changed.wait_for(lambda: self._state.end is not None, timeout=grace_s)
        return self.close()

    def kill(self, why: str = "killed by the caller") -> None:
        """Kills the process group at once."""
        self._state.asked = self._state.asked or why
        if self._supervisor is not None:
            self._supervisor.kill()

    def close(self) -> End:
        """Kills the process if it lives, waits for its end, and returns it."""
        if self._supervisor is None:
            return End("infrastructure", "never started")
        if self._state.end is None:
            self.kill()
        end = self.wait()
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
        state = self._state
        with state.changed:
            if not state.changed.wait_for(lambda: state.end is not None, timeout=timeout_s):
                raise TimeoutError(f"the locked process lives still after {timeout_s} s")
            assert state.end is not None
            return state.end

    # ---- facts

    @property
    def report(self) -> dict | None:
        """The lock's report, once the process is ready."""
        return None if self._state.report is None else dict(self._state.report)

    @property
    def end(self) -> End | None:
        """How the process ended, or None while it lives."""
        return self._state.end

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
        state = self._state
        with state.changed:
            state.changed.wait_for(lambda: bool(state.messages) or state.end is not None, timeout=timeout_s)
            return state.messages.popleft() if state.messages else None

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
        self._state.job_deadline = time.monotonic() + deadline_s
        try:
            self._write("message", message, arrays)
            answer = self.receive()
        except ChannelClosed:
            answer = None
        finally:
            self._state.job_deadline = None
        return self.wait() if answer is None else answer

    # ---- inside

    def _write(self, kind: str, data: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        if self._write_fd < 0 or self._state.end is not None:
            raise ChannelClosed("the locked process is gone")
        write_all(self._write_fd, encode(kind, data, arrays))
