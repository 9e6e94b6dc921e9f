"""L1 regression of a whole chunk (parallel decoding as in OpenVLA-OFT, Kim et al. 2025, arXiv:2502.19645).

Deviation: one feature per chunk instead of one hidden state per action token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embodied.policies.heads.base import ActionHead, fresh_linear, masked_mean


class L1Head(ActionHead):
    """One answer per feature: where several are right it gives their median.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        hidden_size: of the MLP.
    """

    def __init__(self, *, feature_size: int, chunk_size: int, action_size: int, hidden_size: int = 256) -> None:
        super().__init__(feature_size=feature_size, chunk_size=chunk_size, action_size=action_size)
        self.at_least(1, hidden_size=hidden_size)
        self.body = nn.Sequential(
            nn.Linear(feature_size, hidden_size),
            nn.GELU(),
            nn.Linear(hidden_size, hidden_size),
            nn.GELU(),
        )
        self.last = nn.Linear(hidden_size, chunk_size * action_size)

    def _loss(self, features: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        return masked_mean((self._chunk(features) - actions).abs(), mask)

    def _sample(self, features: Tensor, generator: torch.Generator | None, prefix: Tensor | None) -> Tensor:
        return self._chunk(features)

    def _chunk(self, features: Tensor) -> Tensor:
        return self.last(self.body(features)).reshape(-1, self.chunk_size, self.action_size)

    def new_embodiment(self, action_size: int) -> None:
        """A fresh last layer."""
        self.at_least(1, action_size=action_size)
        self.action_size = action_size
        self.last = fresh_linear(self.last, out_features=self.chunk_size * action_size)
