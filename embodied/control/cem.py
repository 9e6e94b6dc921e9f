"""Cross-entropy method for plans (Rubinstein 1999; warm-started as in iCEM, Pinneri et al. 2020, arXiv:2008.06389).

Deviations from iCEM: white noise on spline knots instead of coloured noise on steps (the spline is the filter); the
best candidate, not the elites' mean, is what the next plan begins from once it beats the mean's own return.
"""

from __future__ import annotations

import numpy as np

from embodied.control.sampler import around, positive
from embodied.core.errors import ConfigError


class CEM:
    """Mean and spread of the plan follow the elites.

    Args:
        noise: standard deviation at the start, and the upper bound later.
        min_noise: lower bound of the standard deviation.
        elites: share of the candidates that count.
        inertia: share of the old spread that is kept at each update.
    """

    def __init__(
        self, *, noise: float = 0.3, min_noise: float = 0.05, elites: float = 0.2, inertia: float = 0.3
    ) -> None:
        positive("CEM", noise=noise, min_noise=min_noise, elites=elites)
        if elites >= 1.0 or not 0.0 <= inertia < 1.0 or min_noise > noise:
            raise ConfigError(
                f"CEM: elites={elites} must be below 1, inertia={inertia} in [0, 1), min_noise={min_noise} at most"
                f" noise={noise}"
            )
        self.noise, self.min_noise, self.elites, self.inertia = noise, min_noise, elites, inertia
        self._spread = np.zeros((1, 1))

    def reset(self, n_knots: int, action_size: int) -> None:
        """The spread of the start."""
        self._spread = np.full((n_knots, action_size), self.noise)

    def shift(self, weights: np.ndarray) -> None:
        """The spread moves along; the new end is uncertain again."""
        moved = np.abs(weights) @ self._spread
        held = weights[:, -1:] * (np.arange(len(weights)) > 0)[:, None]  # how much of a knot is the held end
        self._spread = np.clip(np.maximum(moved, held * self.noise), self.min_noise, self.noise)

    def propose(self, plan: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """The plan and its variations `(n, K, A)`."""
        return around(plan, self._spread, n, rng)

    def update(self, candidates: np.ndarray, returns: np.ndarray) -> np.ndarray:
        """Mean of the elites; they set the new spread."""
        finite = int(np.isfinite(returns).sum())
        if finite == 0:
            return candidates[0].copy()
        n = min(finite, max(2, round(self.elites * len(returns))))
        best = candidates[np.argsort(-returns, kind="stable")[:n]]
        spread = self.inertia * self._spread + (1.0 - self.inertia) * best.std(axis=0)
        self._spread = np.clip(spread, self.min_noise, self.noise)
        return best.mean(axis=0)
