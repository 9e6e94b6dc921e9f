"""A transformer over the steps of a chunk with adaLN-zero blocks (DiT, Peebles & Xie 2023, arXiv:2212.09748).

As ScaleDP and DexVLA use it for actions: one token per step, the condition is the sum of embedded time and features,
every block starts as the identity.

Deviations: learned positions; time in [0, 1] with sines of pi0's periods.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied.core.errors import ConfigError
from embodied.policies.heads.base import fresh_linear
from embodied.policies.heads.denoisers import Denoiser, TimeEmbedding, check_even, check_sizes


class DiTDenoiser(Denoiser):
    """Attention over the steps.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        width: of the tokens, a multiple of `heads`, even.
        depth: number of blocks.
        heads: of the attention.
        mlp_ratio: hidden size of the MLPs over the width.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        chunk_size: int,
        action_size: int,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: int = 4,
    ) -> None:
        super().__init__(feature_size=feature_size, chunk_size=chunk_size, action_size=action_size)
        check_sizes("DiTDenoiser", depth=depth, heads=heads, mlp_ratio=mlp_ratio)
        check_even("DiTDenoiser", width=width)
        if width % heads:
            raise ConfigError(f"DiTDenoiser: width={width} must be a multiple of heads={heads}")
        self.time = TimeEmbedding(width)
        self.condition = nn.Sequential(nn.Linear(feature_size, width), nn.SiLU(), nn.Linear(width, width))
        self.first = nn.Linear(action_size, width)
        self.position = nn.Parameter(torch.randn(chunk_size, width) * 0.02)
        self.blocks = nn.ModuleList(_Block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = _zero(nn.Linear(width, 2 * width))
        self.last = _zero(nn.Linear(width, action_size))

    def forward(self, noisy: Tensor, time: Tensor, features: Tensor) -> Tensor:
        """`(B, T, A)`."""
        condition = F.silu(self.time(time) + self.condition(features)).unsqueeze(1)
        x = self.first(noisy) + self.position
        for block in self.blocks:
            x = block(x, condition)
        scale, shift = self.modulation(condition).chunk(2, dim=-1)
        return self.last(self.norm(x) * (1.0 + scale) + shift)

    def new_embodiment(self, action_size: int) -> None:
        """Fresh first and last layers, the last one at zero as at the start."""
        self.action_size = action_size
        self.first = fresh_linear(self.first, in_features=action_size)
        self.last = _zero(fresh_linear(self.last, out_features=action_size))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = _zero(nn.Linear(width, 6 * width))
        self.qkv = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width), nn.GELU(approximate="tanh"), nn.Linear(mlp_ratio * width, width)
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift, gate, scale_mlp, shift_mlp, gate_mlp = self.modulation(condition).chunk(6, dim=-1)
        x = x + gate * self._attend(self.norm(x) * (1.0 + scale) + shift)
        return x + gate_mlp * self.mlp(self.norm(x) * (1.0 + scale_mlp) + shift_mlp)

    def _attend(self, x: Tensor) -> Tensor:
        parts = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        return self.join(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
