"""Running mean and variance (Welford, in batches), for observations and for the scale of returns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class RunningMoments:
    """Mean and variance of a stream of batches `(n, *shape)`."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.mean, self.var, self.count = np.zeros(shape), np.ones(shape), 1e-4

    def update(self, batch: np.ndarray) -> None:
        """Adds a batch `(n, *shape)` (parallel variance, Chan et al. 1979)."""
        n, mean, var = len(batch), batch.mean(axis=0), batch.var(axis=0)
        total, delta = self.count + n, mean - self.mean
        self.mean = self.mean + delta * n / total
        self.var = (self.var * self.count + var * n + delta**2 * self.count * n / total) / total
        self.count = total

    @property
    def std(self) -> np.ndarray:
        """Standard deviation, never below 1e-4."""
        return np.sqrt(np.maximum(self.var, 1e-8))

    def get_state(self) -> dict[str, np.ndarray]:
        """Arrays to save."""
        return {"mean": np.array(self.mean), "var": np.array(self.var), "count": np.array(self.count)}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Inverse of `get_state`."""
        self.mean, self.var, self.count = np.array(state["mean"]), np.array(state["var"]), float(state["count"])
