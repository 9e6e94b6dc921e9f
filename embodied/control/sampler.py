"""What a sampling planner is: how candidate plans are drawn, and how their returns give the next plan."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from embodied.core.errors import ConfigError


class Sampler(Protocol):
    """A distribution over plans. One module and one yaml in `conf/planner/` per sampler.

    Plans are knots `(K, A)` in the normalised range [-1, 1]; a larger return is better.
    """

    def reset(self, n_knots: int, action_size: int) -> None:
        """Forgets what was learnt; plans have K knots of A components."""
        ...

    def shift(self, weights: np.ndarray) -> None:
        """Time has passed: `weights (K, K)` map old knots to those of the new horizon."""
        ...

    def propose(self, plan: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draws n candidates `(n, K, A)` around `plan (K, A)`; the first is the plan itself."""
        ...

    def update(self, candidates: np.ndarray, returns: np.ndarray) -> np.ndarray:
        """The next plan `(K, A)` from candidates and their returns `(n,)` (-inf where a rollout diverged)."""
        ...


def around(plan: np.ndarray, spread: np.ndarray | float, n: int, rng: np.random.Generator) -> np.ndarray:
    """The plan and n - 1 Gaussian variations of it, clipped to [-1, 1]: `(n, K, A)`."""
    noise = rng.standard_normal((n, *plan.shape)) * spread
    noise[0] = 0.0
    return np.clip(plan + noise, -1.0, 1.0)


def positive(where: str, **values: float) -> None:
    """Refuses settings that must be above zero."""
    for name, value in values.items():
        if not value > 0 or not np.isfinite(value):
            raise ConfigError(f"{where}: {name}={value} must be a finite number above 0")
