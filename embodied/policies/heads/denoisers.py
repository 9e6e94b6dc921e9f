"""The denoiser contract, the time embedding, and denoisers by name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from embodied.core.build import build
from embodied.core.errors import ConfigError, UnknownNameError

DENOISERS = {
    "mlp": "embodied.policies.heads.mlp.MLPDenoiser",
    "unet": "embodied.policies.heads.unet.UNetDenoiser",
    "dit": "embodied.policies.heads.dit.DiTDenoiser",
}
SHORTEST_PERIOD, LONGEST_PERIOD = 4e-3, 4.0


class Denoiser(nn.Module, ABC):
    """Maps a noisy chunk to what a head asks for: the noise, the chunk or the velocity.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
    """

    def __init__(self, *, feature_size: int, chunk_size: int, action_size: int) -> None:
        super().__init__()
        self.feature_size, self.chunk_size, self.action_size = feature_size, chunk_size, action_size

    @abstractmethod
    def forward(self, noisy: Tensor, time: Tensor, features: Tensor) -> Tensor:
        """`(B, T, A)` of a noisy chunk `(B, T, A)`, a time `(B,)` in [0, 1] and features `(B, F)`."""

    @abstractmethod
    def new_embodiment(self, action_size: int) -> None:
        """Fresh first and last projections: both have the size of an action. All other weights are kept."""


class TimeEmbedding(nn.Module):
    """Sines and cosines of a time in [0, 1], periods 0.004 to 4 as in pi0's code, then an MLP.

    Args:
        size: of the output, even.
    """

    frequency: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        span = torch.linspace(0.0, 1.0, size // 2, dtype=torch.float64)
        period = SHORTEST_PERIOD * (LONGEST_PERIOD / SHORTEST_PERIOD) ** span
        self.register_buffer("frequency", (2.0 * math.pi / period).float(), persistent=False)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.SiLU(), nn.Linear(4 * size, size))

    def forward(self, time: Tensor) -> Tensor:
        """`(B,)` to `(B, size)`."""
        angle = time[:, None] * self.frequency
        return self.mlp(torch.cat([angle.sin(), angle.cos()], dim=-1).to(self.mlp[0].weight.dtype))


def make_denoiser(name: str, options: Mapping[str, Any] | None, **sizes: int) -> Denoiser:
    """Builds a denoiser of a head.

    Args:
        name: of `DENOISERS`, or the dotted name of a class.
        options: its further keyword arguments.
        sizes: feature_size, chunk_size and action_size.

    Raises:
        ConfigError: an unknown name or option.
    """
    if name not in DENOISERS and "." not in name:
        raise UnknownNameError("denoiser", name, DENOISERS)
    made = build({"_target_": DENOISERS.get(name, name), **(options or {})}, **sizes)
    if not isinstance(made, Denoiser):
        raise ConfigError(f"denoiser '{name}' is a {type(made).__name__}, not a Denoiser")
    return made


def check_sizes(where: str, **sizes: int) -> None:
    """Raises ConfigError for the first size below 1."""
    for name, value in sizes.items():
        if value < 1:
            raise ConfigError(f"{where}: {name}={value} must be at least 1")


def check_even(where: str, **sizes: int) -> None:
    """Raises ConfigError for the first size that is odd or below 2."""
    for name, value in sizes.items():
        if value < 2 or value % 2:
            raise ConfigError(f"{where}: {name}={value} must be even and at least 2")
