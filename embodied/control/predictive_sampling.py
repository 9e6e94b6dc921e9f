"""Predictive sampling (Howell et al. 2022, arXiv:2212.00541): the best of some Gaussian variations is the next plan.

Deviation: actions are in the normalised range [-1, 1], so `noise` is a share of half the range of each action.
"""

from __future__ import annotations

import numpy as np

from embodied.control.sampler import around, positive


class PredictiveSampling:
    """The best candidate wins.

    Args:
        noise: standard deviation of the variations.
    """

    def __init__(self, *, noise: float = 0.25) -> None:
        positive("PredictiveSampling", noise=noise)
        self.noise = noise

    def reset(self, n_knots: int, action_size: int) -> None:
        """Nothing is learnt."""

    def shift(self, weights: np.ndarray) -> None:
        """Nothing is learnt."""

    def propose(self, plan: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """The plan and its variations `(n, K, A)`."""
        return around(plan, self.noise, n, rng)

    def update(self, candidates: np.ndarray, returns: np.ndarray) -> np.ndarray:
        """The candidate of the largest return; the plan itself wins a tie."""
        return candidates[int(np.argmax(returns))].copy()
