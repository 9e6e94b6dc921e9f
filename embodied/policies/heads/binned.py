"""A softmax over uniform bins for every action scalar (RT-2, Brohan et al. 2023, arXiv:2307.15818).

As many bins as there and in OpenVLA (Kim et al. 2024, arXiv:2406.09246).

Deviations: all scalars of a chunk at once instead of one token after another, hence independent of each other given
the feature; the bins have an output layer of their own, shared by all scalars, instead of the least used words of a
language model; bounds of the bins are [-1, 1], quantiles being the normaliser's affair.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embodied.policies.heads.base import ActionHead, masked_mean, uniform_noise
from embodied.policies.heads.scalars import ScalarFeatures, bin_cost, from_bins, pick


class BinnedHead(ActionHead):
    """Cross entropy over bins.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        bins: per action scalar.
        hidden_size: of the MLP.
        scalar_size: of the feature of one scalar.
        temperature: 0 takes the likeliest bin, else bins are drawn of `softmax(logits / temperature)`.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        chunk_size: int,
        action_size: int,
        bins: int = 256,
        hidden_size: int = 256,
        scalar_size: int = 64,
        temperature: float = 0.0,
    ) -> None:
        super().__init__(feature_size=feature_size, chunk_size=chunk_size, action_size=action_size)
        self.at_least(2, bins=bins)
        self.at_least(1, hidden_size=hidden_size, scalar_size=scalar_size)
        self.at_least(0, temperature=temperature)
        self.bins, self.temperature = bins, temperature
        self.body = ScalarFeatures(
            feature_size=feature_size,
            chunk_size=chunk_size,
            action_size=action_size,
            hidden_size=hidden_size,
            scalar_size=scalar_size,
        )
        self.logits = nn.Linear(scalar_size, bins)

    def _loss(self, features: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        return masked_mean(bin_cost(self.logits(self.body(features)), actions), mask)

    def _sample(self, features: Tensor, generator: torch.Generator | None, prefix: Tensor | None) -> Tensor:
        logits = self.logits(self.body(features))
        uniform = uniform_noise(logits.shape[:-1], logits, generator) if self.temperature else None
        return from_bins(pick(logits, self.temperature, uniform), self.bins)

    def new_embodiment(self, action_size: int) -> None:
        """A fresh projection to the features of the scalars; the shared output layer is kept."""
        self.at_least(1, action_size=action_size)
        self.action_size = action_size
        self.body.new_embodiment(action_size)
