"""A smooth density for every action scalar (Gillman et al. 2025, Fourier Head, arXiv:2410.22269).

Deviations: the densities of all scalars come of one layer with shared weights over a feature of each scalar; the even
extension is the default, because robots' actions lie at their limits and a periodic density moves mass from one limit
to the other; a likelihood without bins is offered, with a uniform share that bounds its gradient; with the periodic
extension actions are mapped to [-0.9, 0.9].
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from embodied.policies.fourier import FourierLinear
from embodied.policies.fourier_series import Extension
from embodied.policies.heads.base import ActionHead, masked_mean, uniform_noise
from embodied.policies.heads.scalars import ScalarFeatures, bin_cost, from_bins, pick

PERIODIC_RANGE = 0.9
UNIFORM_SHARE = 1e-3


class FourierHead(ActionHead):
    """Cross entropy over bins of a Fourier density, or its exact likelihood.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        num_frequencies: N of the series.
        bins: of the cross entropy, of `bins` and of `mode`.
        hidden_size: of the MLP.
        scalar_size: of the feature of one scalar.
        likelihood: `bins` (the paper's cross entropy) or `density` (of the action itself).
        sampling: `mode` (the likeliest bin), `bins` (drawn) or `density` (drawn without bins, by inversion).
        extension: `even` or `periodic`.
        gamma: weight of the smoothness penalty.
        penalty: `scale_invariant` or `published`.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        chunk_size: int,
        action_size: int,
        num_frequencies: int = 16,
        bins: int = 256,
        hidden_size: int = 256,
        scalar_size: int = 64,
        likelihood: Literal["bins", "density"] = "bins",
        sampling: Literal["mode", "bins", "density"] = "mode",
        extension: Extension = "even",
        gamma: float = 0.0,
        penalty: Literal["published", "scale_invariant"] = "scale_invariant",
    ) -> None:
        super().__init__(feature_size=feature_size, chunk_size=chunk_size, action_size=action_size)
        self.at_least(1, hidden_size=hidden_size, scalar_size=scalar_size)
        self.one_of(("bins", "density"), likelihood=likelihood)
        self.one_of(("mode", "bins", "density"), sampling=sampling)
        self.bins, self.likelihood, self.sampling = bins, likelihood, sampling
        self.range = PERIODIC_RANGE if extension == "periodic" else 1.0
        self.body = ScalarFeatures(
            feature_size=feature_size,
            chunk_size=chunk_size,
            action_size=action_size,
            hidden_size=hidden_size,
            scalar_size=scalar_size,
        )
        self.series = FourierLinear(
            scalar_size, bins, num_frequencies=num_frequencies, gamma=gamma, extension=extension, penalty=penalty
        )

    def _loss(self, features: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        x, target = self.body(features), actions * self.range
        if self.likelihood == "density":
            cost = -self.series.distribution(x).log_prob(target, floor=UNIFORM_SHARE)
        else:
            cost = bin_cost(self.series(x), target)
        return masked_mean(cost, mask) + self.series.penalty

    def _sample(self, features: Tensor, generator: torch.Generator | None, prefix: Tensor | None) -> Tensor:
        x = self.body(features)
        if self.sampling == "density":
            return self.series.distribution(x).sample(generator) / self.range
        logits = self.series(x)
        uniform = uniform_noise(logits.shape[:-1], logits, generator) if self.sampling == "bins" else None
        return from_bins(pick(logits, 1.0, uniform), self.bins) / self.range

    def new_embodiment(self, action_size: int) -> None:
        """A fresh projection to the features of the scalars; the shared Fourier layer is kept."""
        self.at_least(1, action_size=action_size)
        self.action_size = action_size
        self.body.new_embodiment(action_size)
