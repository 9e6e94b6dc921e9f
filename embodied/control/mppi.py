"""Model-predictive path integral control (Williams et al. 2017, arXiv:1707.02342): candidates weighted by exp(return).

Deviations: returns are scaled by their own spread before the temperature, so that one temperature suits every reward
program (as in TD-MPC2's and judo's planners); noise is on spline knots; no cost of the controls other than the
program's own.
"""

from __future__ import annotations

import numpy as np

from embodied.control.sampler import around, positive


class MPPI:
    """The weighted mean of all candidates.

    Args:
        noise: standard deviation of the variations.
        temperature: of the weights, in standard deviations of the returns: small follows the best ones alone.
    """

    def __init__(self, *, noise: float = 0.25, temperature: float = 0.15) -> None:
        positive("MPPI", noise=noise, temperature=temperature)
        self.noise, self.temperature = noise, temperature

    def reset(self, n_knots: int, action_size: int) -> None:
        """Nothing is learnt."""

    def shift(self, weights: np.ndarray) -> None:
        """Nothing is learnt."""

    def propose(self, plan: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """The plan and its variations `(n, K, A)`."""
        return around(plan, self.noise, n, rng)

    def update(self, candidates: np.ndarray, returns: np.ndarray) -> np.ndarray:
        """The mean of the candidates, weighted by return."""
        finite = np.isfinite(returns)
        if not finite.any():
            return candidates[0].copy()
        good = returns[finite]
        scale = max(float(good.std()), 1e-12) * self.temperature
        weights = np.exp((good - good.max()) / scale)
        return np.einsum("n,nka->ka", weights / weights.sum(), candidates[finite])
