"""Time as an argument: loops run on the machine's clock, tests on a virtual one."""

from __future__ import annotations

import time
from typing import Protocol, runtime_checkable

from embodied.core.errors import ConfigError


@runtime_checkable
class Clock(Protocol):
    """A monotonic clock that can be waited on."""

    def now_s(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        ...

    def sleep_until_s(self, moment_s: float) -> None:
        """Returns at `moment_s`, or at once where it has passed."""
        ...


class MonotonicClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        """Seconds since boot, or thereabouts."""
        return time.monotonic()

    def sleep_until_s(self, moment_s: float) -> None:
        """Sleeps; wakes late by what the kernel makes of it, typically 0.1 ms."""
        left = moment_s - time.monotonic()
        if left > 0:
            time.sleep(left)


class VirtualClock:
    """A clock that moves only when it is told to, or when someone sleeps on it.

    Args:
        start_s: first reading [s].
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = float(start_s)

    def now_s(self) -> float:
        """The virtual time [s]."""
        return self._now_s

    def sleep_until_s(self, moment_s: float) -> None:
        """Moves to `moment_s` at once."""
        self._now_s = max(self._now_s, float(moment_s))

    def advance_s(self, duration_s: float) -> None:
        """Moves forward.

        Raises:
            ConfigError: the duration is negative.
        """
        if not duration_s >= 0:
            raise ConfigError(f"a clock cannot go back by {-duration_s} s")
        self._now_s += float(duration_s)
