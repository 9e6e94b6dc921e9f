"""The action head contract.

Legend of shapes: B batch, F feature_size, T chunk_size, A action_size, P committed actions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from embodied.core.errors import ConfigError


class ActionHead(nn.Module, ABC):
    """Makes chunks of actions in [-1, 1] of features.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
    """

    def __init__(self, *, feature_size: int, chunk_size: int, action_size: int) -> None:
        super().__init__()
        for name, value in (("feature_size", feature_size), ("chunk_size", chunk_size), ("action_size", action_size)):
            if value < 1:
                raise ConfigError(f"{type(self).__name__}: {name}={value} must be at least 1")
        self.feature_size, self.chunk_size, self.action_size = feature_size, chunk_size, action_size

    @abstractmethod
    def loss(self, features: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Mean loss over the valid steps, a scalar.

        Args:
            features: `(B, F)`.
            actions: `(B, T, A)` in [-1, 1].
            mask: bool `(B, T)`, True where valid.
        """

    @abstractmethod
    def sample(
        self, features: Tensor, generator: torch.Generator | None = None, *, prefix: Tensor | None = None
    ) -> Tensor:
        """Chunks `(B, T, A)` in [-1, 1].

        Args:
            features: `(B, F)`.
            generator: of the noise; None takes torch's own.
            prefix: actions `(B, P, A)` already committed; the chunks begin with exactly these.
        """

    @abstractmethod
    def new_embodiment(self, action_size: int) -> None:
        """Fits the head to another action size, with fresh weights where they must be, the others kept."""

    def check(self, features: Tensor, actions: Tensor, mask: Tensor) -> None:
        """Raises ConfigError where shapes do not fit."""
        wanted = (len(features), self.chunk_size, self.action_size)
        if features.shape != (wanted[0], self.feature_size) or actions.shape != wanted or mask.shape != wanted[:2]:
            raise ConfigError(
                f"{type(self).__name__} takes features (B, {self.feature_size}), actions (B, {wanted[1]}, {wanted[2]})"
                f" and mask (B, {wanted[1]}); got {tuple(features.shape)}, {tuple(actions.shape)}, {tuple(mask.shape)}"
            )


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `(B, T, ...)` over the valid steps."""
    weight = mask.reshape(*mask.shape, *[1] * (values.ndim - 2)).to(values.dtype).expand_as(values)
    return (values * weight).sum() / weight.sum().clamp(min=1.0)


def with_prefix(chunk: Tensor, prefix: Tensor | None) -> Tensor:
    """The chunk with its first steps overwritten by committed actions `(B, P, A)`."""
    return chunk if prefix is None else torch.cat([prefix, chunk[:, prefix.shape[1] :]], dim=1)
