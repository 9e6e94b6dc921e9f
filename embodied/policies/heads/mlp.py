"""A residual MLP over the flattened chunk, modulated by time and features (FiLM, Perez et al. 2018, arXiv:1709.07871).

The denoiser for processors: two products per block and no convolution. The noise and the velocity are, up to a factor
that depends on time, the difference of the noisy chunk and the clean one. So a learned multiple of the input is added
to the output, and noise need not pass through the layers (Karras et al. 2022, arXiv:2206.00364, have it fixed).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embodied.policies.heads.base import fresh_linear
from embodied.policies.heads.denoisers import Denoiser, TimeEmbedding, check_even, check_sizes


class MLPDenoiser(Denoiser):
    """Residual blocks `x + W2 gelu(W1 FiLM(norm(x)))`.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        width: of the blocks.
        depth: number of blocks.
        time_size: of the time embedding, even.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        chunk_size: int,
        action_size: int,
        width: int = 256,
        depth: int = 3,
        time_size: int = 64,
    ) -> None:
        super().__init__(feature_size=feature_size, chunk_size=chunk_size, action_size=action_size)
        check_sizes("MLPDenoiser", width=width, depth=depth)
        check_even("MLPDenoiser", time_size=time_size)
        self.time = TimeEmbedding(time_size)
        self.condition = nn.Sequential(nn.Linear(feature_size + time_size, width), nn.SiLU())
        self.first = nn.Linear(chunk_size * action_size, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.skip = nn.Linear(time_size, 1)
        self.last = nn.Linear(width, chunk_size * action_size)

    def forward(self, noisy: Tensor, time: Tensor, features: Tensor) -> Tensor:
        """`(B, T, A)`."""
        embedded = self.time(time)
        condition = self.condition(torch.cat([features, embedded], dim=-1))
        x = self.first(noisy.flatten(1))
        for block in self.blocks:
            x = block(x, condition)
        return self.last(x).reshape(noisy.shape) + self.skip(embedded).unsqueeze(-1) * noisy

    def new_embodiment(self, action_size: int) -> None:
        """Fresh first and last layers."""
        self.action_size = action_size
        self.first = fresh_linear(self.first, in_features=self.chunk_size * action_size)
        self.last = fresh_linear(self.last, out_features=self.chunk_size * action_size)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.film = nn.Linear(width, 2 * width)
        self.inner = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition).chunk(2, dim=-1)
        return x + self.inner(self.norm(x) * (1.0 + scale) + shift)
