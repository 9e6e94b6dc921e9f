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

    A head implements `_loss`, `_sample` and `new_embodiment`; the shapes have been checked before the first two.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
    """

    def __init__(self, *, feature_size: int, chunk_size: int, action_size: int) -> None:
        super().__init__()
        self.at_least(1, feature_size=feature_size, chunk_size=chunk_size, action_size=action_size)
        self.feature_size, self.chunk_size, self.action_size = feature_size, chunk_size, action_size

    def loss(self, features: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Mean loss over the valid steps, a scalar. What the other steps hold, NaN included, does not matter.

        Args:
            features: `(B, F)`.
            actions: `(B, T, A)` in [-1, 1].
            mask: bool `(B, T)`, True where valid.
        """
        self.check(features, actions, mask)
        return self._loss(features, actions.masked_fill(~mask.unsqueeze(-1), 0.0), mask)

    @torch.no_grad()
    def sample(
        self, features: Tensor, generator: torch.Generator | None = None, *, prefix: Tensor | None = None
    ) -> Tensor:
        """Chunks `(B, T, A)` in [-1, 1], without gradients.

        Args:
            features: `(B, F)`.
            generator: of the noise, on any device; None takes torch's own.
            prefix: actions `(B, P, A)` already committed; the chunks begin with exactly these.
        """
        self._check_sample(features, prefix)
        chunk = self._sample(features, generator, prefix).clamp(-1.0, 1.0)
        return chunk if prefix is None else torch.cat([prefix.to(chunk), chunk[:, prefix.shape[1] :]], dim=1)

    @abstractmethod
    def _loss(self, features: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """As `loss`; the actions are 0 where not valid."""

    @abstractmethod
    def _sample(self, features: Tensor, generator: torch.Generator | None, prefix: Tensor | None) -> Tensor:
        """As `sample`; values beyond [-1, 1] are clipped and the prefix is written over the chunk afterwards."""

    @abstractmethod
    def new_embodiment(self, action_size: int) -> None:
        """Fits the head to another action size: fresh weights where they must be, the others kept bit for bit.

        As DiffusionVLA does for a new robot (Wen et al. 2025, arXiv:2412.03293). An optimiser made before holds the
        old weights.
        """

    def check(self, features: Tensor, actions: Tensor, mask: Tensor) -> None:
        """Raises ConfigError where shapes do not fit."""
        wanted = (len(features), self.chunk_size, self.action_size)
        if features.shape != (wanted[0], self.feature_size) or actions.shape != wanted or mask.shape != wanted[:2]:
            raise ConfigError(
                f"{type(self).__name__} takes features (B, {self.feature_size}), actions (B, {wanted[1]}, {wanted[2]})"
                f" and mask (B, {wanted[1]}); got {tuple(features.shape)}, {tuple(actions.shape)}, {tuple(mask.shape)}"
            )
        if mask.dtype != torch.bool:
            raise ConfigError(f"{type(self).__name__}: mask is {mask.dtype}, must be torch.bool, True where valid")

    def _check_sample(self, features: Tensor, prefix: Tensor | None) -> None:
        name, rows = type(self).__name__, len(features)
        if features.shape != (rows, self.feature_size):
            raise ConfigError(f"{name} takes features (B, {self.feature_size}); got {tuple(features.shape)}")
        if prefix is None:
            return
        if prefix.ndim != 3 or prefix.shape[1] > self.chunk_size or prefix.shape[::2] != (rows, self.action_size):
            raise ConfigError(
                f"{name} takes a prefix ({rows}, at most {self.chunk_size}, {self.action_size}); got"
                f" {tuple(prefix.shape)}"
            )

    def at_least(self, least: float, **values: float) -> None:
        """Raises ConfigError for the first value below `least`."""
        for name, value in values.items():
            if value < least:
                raise ConfigError(f"{type(self).__name__}: {name}={value} must be at least {least}")

    def one_of(self, known: tuple[str, ...], **values: str) -> None:
        """Raises ConfigError for the first value that is not known."""
        for name, value in values.items():
            if value not in known:
                raise ConfigError(f"{type(self).__name__}: {name}='{value}' must be one of {', '.join(known)}")


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `(B, T, ...)` over the valid steps; 0 where there is none."""
    weight = mask.reshape(*mask.shape, *[1] * (values.ndim - 2)).expand_as(values)
    return values.masked_fill(~weight, 0.0).sum() / weight.sum().clamp(min=1)


def fresh_linear(old: nn.Linear, *, in_features: int | None = None, out_features: int | None = None) -> nn.Linear:
    """A layer with newly drawn weights, of another size, where the old one lies."""
    sizes = in_features or old.in_features, out_features or old.out_features
    return nn.Linear(*sizes, bias=old.bias is not None, device=old.weight.device, dtype=old.weight.dtype)


def normal_noise(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Normal numbers in float32 on the device of `like`, drawn where the generator lives."""
    device = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=device).to(like.device)


def uniform_noise(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Numbers in [0, 1) in float32 on the device of `like`, drawn where the generator lives."""
    device = like.device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=device).to(like.device)
