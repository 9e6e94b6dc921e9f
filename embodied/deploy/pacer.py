"""A control loop's rhythm: absolute deadlines, missed cycles counted and never caught up in a burst."""

from __future__ import annotations

import math

import numpy as np

from embodied.core.clock import Clock
from embodied.core.errors import ConfigError


class Pacer:
    """Deadlines every `1 / rate_hz` seconds on a monotonic clock.

    Args:
        rate_hz: cycles a second.
        clock: what is waited on.

    Attributes:
        cycles: how many deadlines were waited for.
        missed: how many deadlines had gone by unused.
    """

    def __init__(self, rate_hz: float, clock: Clock) -> None:
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise ConfigError(f"rate_hz={rate_hz!r} must be a positive number")
        self.dt_s, self._clock = 1.0 / rate_hz, clock
        self.cycles = self.missed = 0
        self._lateness_s = np.zeros(65536)
        self._next_s = clock.now_s()

    def wait(self) -> float:
        """Sleeps until the next deadline; returns by how much it woke late [s]."""
        now_s = self._clock.now_s()
        self._next_s += self.dt_s
        if now_s >= self._next_s + self.dt_s:
            skipped = math.floor((now_s - self._next_s) / self.dt_s)
            self.missed += skipped
            self._next_s += skipped * self.dt_s
        self._clock.sleep_until_s(self._next_s)
        late_s = max(self._clock.now_s() - self._next_s, 0.0)
        self._lateness_s[self.cycles % len(self._lateness_s)] = late_s
        self.cycles += 1
        return late_s

    def summary(self) -> dict[str, float]:
        """Cycles, missed ones, and percentiles of the lateness of the last 65,536 [ms]."""
        seen = self._lateness_s[: min(self.cycles, len(self._lateness_s))]
        p50, p99 = np.percentile(seen, [50, 99]) if len(seen) else (0.0, 0.0)
        return {
            "cycles": float(self.cycles),
            "missed": float(self.missed),
            "late_p50_ms": 1e3 * float(p50),
            "late_p99_ms": 1e3 * float(p99),
        }
