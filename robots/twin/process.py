"""A twin as its owner sees it: started, told what shall go wrong, stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embodied.core.errors import ConfigError, RobotLostError
from embodied.core.files import write_json
from robots.calibration import MotorCalibration


class TwinProcess:
    """A running twin.

    Args:
        twin: what to build (`_target_` and its arguments).
        log: where the bytes on the wire are written, JSON lines.
        manual: whether its time moves only by `advance`.
        seed: of its faults.
        priority: real-time priority where permitted, 0 for none.

    Attributes:
        pid: of its process.
    """

    def __init__(
        self,
        twin: Mapping[str, Any],
        *,
        log: Path | None = None,
        manual: bool = False,
        seed: int = 0,
        priority: int = 0,
    ) -> None:
        config = {
            "twin": dict(twin), "log": str(log) if log else None, "manual": manual, "seed": seed, "priority": priority,
        }  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "robots.twin.serve", json.dumps(config)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
            start_new_session=True,  # a robot does not end with the program that drives it
        )  # fmt: skip
        first = self._line()
        if "error" in first:
            self.close()
            raise ConfigError(first["error"])
        self._asking = threading.Lock()  # whoever looks at a twin may do so beside its owner
        self.pid: int = first["pid"]
        self._connection: dict[str, Any] = first["connection"]

    @property
    def port(self) -> str:
        """The device to connect to, of a twin of serial servos."""
        return self._connection["port"]

    @property
    def calibration(self) -> dict[str, MotorCalibration]:
        """What is burnt into its servos, by joint, of a twin that has such."""
        return {joint: MotorCalibration(**motor) for joint, motor in self._connection["calibration"].items()}

    def connection(self, folder: Path) -> dict[str, str]:
        """What its driver must be told to connect, by argument; what is more than a word is a file in `folder`."""
        told = {}
        for name, given in self._connection.items():
            told[name] = str(given)
            if isinstance(given, Mapping):
                told[name] = str(folder / f"twin_{name}.json")
                write_json(Path(told[name]), given)
        return told

    def tell(self, **command: Any) -> dict[str, Any]:
        """One command (see `robots.twin.serve`); gives the twin's state.

        Raises:
            ConfigError: the twin does not know it.
            RobotLostError: the twin has ended.
        """
        assert self._process.stdin is not None
        with self._asking:
            try:
                self._process.stdin.write(json.dumps(command) + "\n")
                self._process.stdin.flush()
            except (OSError, ValueError) as error:
                raise RobotLostError(f"the twin (pid {self.pid}) has ended: {error}") from None
            answer = self._line()
        if "error" in answer:
            raise ConfigError(answer["error"])
        return answer

    def state(self) -> dict[str, Any]:
        """Where the joints really are, whatever the wire says."""
        return self.tell(state=True)

    def advance(self, seconds: float) -> dict[str, Any]:
        """Moves a manual clock."""
        return self.tell(advance_s=seconds)

    def place(self, position_rad: Sequence[float]) -> dict[str, Any]:
        """Puts the arm at rest at a pose."""
        return self.tell(place=list(position_rad))

    def freeze(self) -> None:
        """Stops the process; `thaw` lets it go on."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets a frozen twin go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Ends it; may be called twice."""
        with contextlib.suppress(OSError):
            self._process.send_signal(signal.SIGCONT)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(timeout=3.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> TwinProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RobotLostError(f"the twin has ended (exit code {self._process.poll()})")
        return json.loads(line)
