"""The console of a deployment: rate, lateness, clamps, temperatures, faults, once a second on one line."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from embodied.deploy.supervisor import Outcome


class DeployConsole:
    """Prints an outcome as it grows: a line that is rewritten on a terminal, a line a second elsewhere.

    Args:
        to: where.
    """

    def __init__(self, to: TextIO = sys.stdout) -> None:
        self._to, self._next_s, self._notes = to, 0.0, 0
        self._live = to.isatty()

    def __call__(self, outcome: Outcome) -> None:
        """Shows it, at most ten times a second on a terminal and once elsewhere."""
        while self._notes < len(outcome.notes):
            self._say(outcome.notes[self._notes][1], end="\n")
            self._notes += 1
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + (0.1 if self._live else 1.0)
        self._say(line(outcome), end="" if self._live else "\n")

    def close(self, outcome: Outcome) -> None:
        """The rest of what happened."""
        self._next_s = float("inf")
        self(outcome)
        if self._live:
            print(file=self._to)

    def _say(self, text: str, end: str) -> None:
        print(f"\r\x1b[2K{text}" if self._live else text, end=end, file=self._to, flush=True)


def line(outcome: Outcome) -> str:
    """The state of a deployment in one line."""
    status = outcome.status
    pacer, verdicts = status["pacer"], status["verdicts"]
    hottest = max(status["state"][4] or (float("nan"),))
    text = (
        f"{status['mode']:<8} {pacer['cycles']:.0f} periods, {pacer['missed']:.0f} missed, late p99"
        f" {pacer['late_p99_ms']:.2f} ms | clamped {verdicts.get('clamped', 0)}, held {verdicts.get('held', 0)}"
        f" | hottest {hottest:.0f} C | readings failed {status['read_faults']}"
    )
    return f"{text} | {'; '.join(status['reasons'])}" if status["reasons"] else text
