"""One softmax over uniform bins per action component, all at once (RT-2, Brohan et al. 2023, arXiv:2307.15818).

Deviation: RT-2 emits the bins as text tokens, one after the other; here the whole chunk is predicted in parallel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied.core.errors import ConfigError
from embodied.policies.heads.base import ActionHead, masked_mean, with_prefix


class BinnedHead(ActionHead):
    """Bins of equal width on [-1, 1].

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        bins: how many.
        hidden_size: of the MLP, and of each component's own feature.
        temperature: of the draw; 0 takes the most probable bin.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        chunk_size: int,
        action_size: int,
        bins: int = 64,
        hidden_size: int = 256,
        temperature: float = 0.0,
    ) -> None:
        super().__init__(feature_size=feature_size, chunk_size=chunk_size, action_size=action_size)
        if bins < 2 or temperature < 0:
            raise ConfigError(f"bins={bins} must be at least 2, temperature={temperature} not negative")
        self.bins, self.temperature = bins, temperature
        self.components = ComponentFeatures(feature_size, chunk_size, action_size, hidden_size)
        self.last = nn.Linear(self.components.size, bins)

    def loss(self, features: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Mean cross entropy per component [nats]."""
        self.check(features, actions, mask)
        logits = self.last(self.components(features))
        wanted = bin_of(actions, self.bins)
        cross = F.cross_entropy(logits.flatten(0, 2), wanted.flatten(), reduction="none").reshape(actions.shape)
        return masked_mean(cross, mask)

    @torch.no_grad()
    def sample(
        self, features: Tensor, generator: torch.Generator | None = None, *, prefix: Tensor | None = None
    ) -> Tensor:
        """Centres of the most probable, or of drawn bins."""
        logits = self.last(self.components(features))
        return with_prefix(centre_of(draw(logits, self.temperature, generator), self.bins), prefix)

    def new_embodiment(self, action_size: int) -> None:
        """Fresh features per component; the bins' layer is shared by all and stays."""
        self.action_size = action_size
        self.components.new_embodiment(action_size)


class ComponentFeatures(nn.Module):
    """One feature per step and component `(B, T, A, size)`: an MLP, then a linear map for each of the T x A.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        hidden_size: of the MLP.
        size: of each component's feature.
    """

    def __init__(
        self, feature_size: int, chunk_size: int, action_size: int, hidden_size: int = 256, size: int = 32
    ) -> None:
        super().__init__()
        self.size, self.chunk_size = size, chunk_size
        self.body = nn.Sequential(
            nn.LayerNorm(feature_size),
            nn.Linear(feature_size, hidden_size),
            nn.GELU(),
            nn.Linear(hidden_size, hidden_size),
            nn.GELU(),
        )
        self.each = nn.Linear(hidden_size, chunk_size * action_size * size)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, F)` to `(B, T, A, size)`."""
        return self.each(self.body(features)).reshape(len(features), self.chunk_size, -1, self.size)

    def new_embodiment(self, action_size: int) -> None:
        """A fresh last layer."""
        self.each = nn.Linear(self.each.in_features, self.chunk_size * action_size * self.size)


def bin_of(actions: Tensor, bins: int) -> Tensor:
    """Indices of the bins of actions in [-1, 1]."""
    return ((actions + 1.0) * (0.5 * bins)).long().clamp(0, bins - 1)


def centre_of(index: Tensor, bins: int) -> Tensor:
    """Centres of bins."""
    return (index.to(torch.float32) + 0.5) * (2.0 / bins) - 1.0


def draw(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """Indices drawn from logits `(..., m)`; temperature 0 takes the largest."""
    if temperature == 0.0:
        return logits.argmax(-1)
    chances = (logits.float() / temperature).softmax(-1).flatten(0, -2)
    return torch.multinomial(chances, 1, generator=generator).reshape(logits.shape[:-1])
