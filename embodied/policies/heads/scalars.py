"""A feature for every scalar of a chunk, and bins on [-1, 1]: what heads with one distribution per scalar share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embodied.policies.heads.base import fresh_linear


class ScalarFeatures(nn.Module):
    """Features `(B, F)` to `(B, T, A, W)`.

    The feature is modulated by a learned scale and shift of each step (FiLM), so that weights grow with `T + A` and not
    with `T A`; only the last projection knows the actions.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        hidden_size: of the MLP.
        scalar_size: W.
    """

    def __init__(
        self, *, feature_size: int, chunk_size: int, action_size: int, hidden_size: int, scalar_size: int
    ) -> None:
        super().__init__()
        self.scalar_size = scalar_size
        self.body = nn.Sequential(nn.Linear(feature_size, hidden_size), nn.GELU())
        self.step_scale = nn.Parameter(torch.randn(chunk_size, hidden_size) * 0.5)
        self.step_shift = nn.Parameter(torch.randn(chunk_size, hidden_size) * 0.5)
        self.mix = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.GELU())
        self.last = nn.Linear(hidden_size, action_size * scalar_size)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, T, A, W)`."""
        x = self.body(features).unsqueeze(1)
        x = x * (1.0 + self.step_scale) + self.step_shift
        x = self.last(x + self.mix(x))
        return nn.functional.gelu(x.unflatten(-1, (-1, self.scalar_size)))

    def new_embodiment(self, action_size: int) -> None:
        """A fresh last projection."""
        self.last = fresh_linear(self.last, out_features=action_size * self.scalar_size)


def to_bins(actions: Tensor, bins: int) -> Tensor:
    """Index of the bin of every action in [-1, 1]."""
    return ((actions + 1.0) * (0.5 * bins)).long().clamp(0, bins - 1)


def bin_cost(logits: Tensor, actions: Tensor) -> Tensor:
    """Cross entropy `(...)` of logits `(..., m)` and the bins of actions `(...)`."""
    index = to_bins(actions, logits.shape[-1])
    return nn.functional.cross_entropy(logits.flatten(0, -2), index.flatten(), reduction="none").view_as(index)


def from_bins(index: Tensor, bins: int) -> Tensor:
    """The centre of every bin."""
    return (2.0 * index + 1.0) / bins - 1.0


def pick(logits: Tensor, temperature: float, uniform: Tensor | None) -> Tensor:
    """Indices `(...)` of logits `(..., m)`: the likeliest, or drawn with uniform numbers `(...)`."""
    if uniform is None:
        return logits.argmax(dim=-1)
    cumulative = (logits.float() / temperature).softmax(dim=-1).cumsum(dim=-1)
    reached = cumulative < (uniform * cumulative[..., -1]).unsqueeze(-1)
    return reached.sum(dim=-1).clamp(max=logits.shape[-1] - 1)
