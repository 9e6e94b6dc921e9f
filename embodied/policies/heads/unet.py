"""The conditional 1-D U-Net of Diffusion Policy (Chi et al. 2023, arXiv:2303.04137), over the steps of a chunk.

Convolution, group norm and Mish twice per block, the condition (time and features) in between by FiLM, two blocks per
level, halving and doubling of the steps between the levels.

Deviations: chunks of any length, padded at the end with their last step to a multiple of `2 ** (levels - 1)` and cut
afterwards; time in [0, 1] with sines of pi0's periods; the narrower default levels suit small policies
(the paper and DiffusionVLA have [256, 512, 1024]).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied.core.errors import ConfigError
from embodied.policies.heads.denoisers import Denoiser, TimeEmbedding, check_even, check_sizes


class UNetDenoiser(Denoiser):
    """Convolutions over the steps.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        down_dims: channels of the levels, multiples of `groups`.
        kernel_size: of the convolutions, odd.
        groups: of the norms.
        time_size: of the time embedding, even.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        chunk_size: int,
        action_size: int,
        down_dims: Sequence[int] = (64, 128, 256),
        kernel_size: int = 5,
        groups: int = 8,
        time_size: int = 128,
    ) -> None:
        super().__init__(feature_size=feature_size, chunk_size=chunk_size, action_size=action_size)
        _check(down_dims, kernel_size, groups, time_size)
        dims = [int(dim) for dim in down_dims]
        shape = {"condition": feature_size + time_size, "kernel_size": kernel_size, "groups": groups}
        self.multiple = 2 ** (len(dims) - 1)
        self.time = TimeEmbedding(time_size)
        self.down = nn.ModuleList(
            _Pair(width, dim, **shape) for width, dim in zip([action_size, *dims], dims, strict=False)
        )
        self.shrink = nn.ModuleList(nn.Conv1d(dim, dim, 3, stride=2, padding=1) for dim in dims[:-1])
        self.middle = _Pair(dims[-1], dims[-1], **shape)
        self.stretch = nn.ModuleList(nn.ConvTranspose1d(dim, dim, 4, stride=2, padding=1) for dim in dims[:-1])
        self.up = nn.ModuleList(_Pair(2 * wide, narrow, **shape) for narrow, wide in itertools.pairwise(dims))
        self.smooth = _ConvNorm(dims[0], dims[0], kernel_size, groups)
        self.last = nn.Conv1d(dims[0], action_size, 1)

    def forward(self, noisy: Tensor, time: Tensor, features: Tensor) -> Tensor:
        """`(B, T, A)`."""
        steps = noisy.shape[1]
        condition = torch.cat([features, self.time(time)], dim=-1)
        x = F.pad(noisy.transpose(1, 2), (0, -steps % self.multiple), mode="replicate")
        kept: list[Tensor] = []
        for level, pair in enumerate(self.down):
            x = pair(x, condition)
            kept.append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x)
        x = self.middle(x, condition)
        for level in reversed(range(len(self.up))):
            x = self.up[level](torch.cat([x, kept[level + 1]], dim=1), condition)
            x = self.stretch[level](x)
        return self.last(self.smooth(x))[..., :steps].transpose(1, 2)

    def new_embodiment(self, action_size: int) -> None:
        """Fresh weights where actions enter (first convolution and the shortcut around it) and in the last one."""
        self.action_size = action_size
        first, place = self.down[0].first, {"device": self.last.weight.device, "dtype": self.last.weight.dtype}
        old = first.one.convolution
        padding, size = old.kernel_size[0] // 2, old.kernel_size[0]
        first.one.convolution = nn.Conv1d(action_size, old.out_channels, size, padding=padding, **place)
        first.shortcut = nn.Conv1d(action_size, old.out_channels, 1, **place)
        self.last = nn.Conv1d(self.last.in_channels, action_size, 1, **place)


class _ConvNorm(nn.Module):
    def __init__(self, width: int, dim: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, dim, kernel_size, padding=kernel_size // 2)
        self.norm = nn.GroupNorm(groups, dim)

    def forward(self, x: Tensor) -> Tensor:
        return F.mish(self.norm(self.convolution(x)))


class _Block(nn.Module):
    def __init__(self, width: int, dim: int, *, condition: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.one = _ConvNorm(width, dim, kernel_size, groups)
        self.two = _ConvNorm(dim, dim, kernel_size, groups)
        self.film = nn.Linear(condition, 2 * dim)
        self.shortcut = nn.Conv1d(width, dim, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(F.mish(condition)).unsqueeze(-1).chunk(2, dim=1)
        return self.two(self.one(x) * (1.0 + scale) + shift) + self.shortcut(x)


class _Pair(nn.Module):
    def __init__(self, width: int, dim: int, *, condition: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.first = _Block(width, dim, condition=condition, kernel_size=kernel_size, groups=groups)
        self.second = _Block(dim, dim, condition=condition, kernel_size=kernel_size, groups=groups)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.second(self.first(x, condition), condition)


def _check(down_dims: Sequence[int], kernel_size: int, groups: int, time_size: int) -> None:
    check_even("UNetDenoiser", time_size=time_size)
    check_sizes("UNetDenoiser", groups=groups, kernel_size=kernel_size)
    if kernel_size % 2 == 0:
        raise ConfigError(f"UNetDenoiser: kernel_size={kernel_size} must be odd")
    if len(down_dims) < 2 or any(dim < 1 or dim % groups for dim in down_dims):
        raise ConfigError(
            f"UNetDenoiser: down_dims={list(down_dims)} must be at least two multiples of groups={groups},"
            " such as [64, 128, 256]"
        )
