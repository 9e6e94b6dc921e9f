"""Networks that say what a noisy chunk should have been: an MLP for a CPU, a U-Net and a transformer for a GPU.

All share one signature: `(noisy (B, T, A), time (B,), condition (B, F)) -> (B, T, A)`; `time` is in [0, 1].
A denoiser's only layers that know A are `first` and `last`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from embodied.core.errors import ConfigError, UnknownNameError

_TIME_SIZE = 64


def make_denoiser(
    name: str, *, action_size: int, chunk_size: int, condition_size: int, **settings: object
) -> nn.Module:
    """A denoiser by name: `mlp`, `unet` or `dit`.

    Raises:
        UnknownNameError: no such denoiser.
        ConfigError: settings that it does not take.
    """
    if name not in DENOISERS:
        raise UnknownNameError("denoiser", name, DENOISERS)
    sizes = {"action_size": action_size, "chunk_size": chunk_size, "condition_size": condition_size}
    try:
        return DENOISERS[name](**sizes, **settings)
    except TypeError as error:
        raise ConfigError(f"denoiser '{name}': {error}") from None


class TimeEmbedding(nn.Module):
    """Sines and cosines of the time, then an MLP (Ho et al. 2020, arXiv:2006.11239)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(_TIME_SIZE, 4 * _TIME_SIZE), nn.SiLU(), nn.Linear(4 * _TIME_SIZE, size))
        rates = torch.exp(-math.log(1e4) * torch.arange(_TIME_SIZE // 2) / (_TIME_SIZE // 2 - 1))
        self.register_buffer("rates", 1000.0 * rates, persistent=False)

    def forward(self, time: Tensor) -> Tensor:
        """`(B,)` to `(B, size)`."""
        angles = time.to(self.rates.dtype)[:, None] * self.rates
        return self.mlp(torch.cat([angles.sin(), angles.cos()], -1).to(self.mlp[0].weight.dtype))


class MLPDenoiser(nn.Module):
    """Residual MLP over the flattened chunk, its layers modulated by condition and time (FiLM, Perez et al. 2018).

    Args:
        action_size: A.
        chunk_size: T.
        condition_size: F.
        hidden_size: of the layers.
        layers: how many.
    """

    def __init__(
        self, *, action_size: int, chunk_size: int, condition_size: int, hidden_size: int = 256, layers: int = 3
    ) -> None:
        super().__init__()
        self.time = TimeEmbedding(hidden_size)
        self.condition = nn.Sequential(nn.Linear(condition_size, hidden_size), nn.SiLU())
        self.first = nn.Linear(chunk_size * action_size, hidden_size)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_size) for _ in range(layers))
        self.films = nn.ModuleList(nn.Linear(hidden_size, 2 * hidden_size) for _ in range(layers))
        self.bodies = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size))
            for _ in range(layers)
        )
        self.last = nn.Linear(hidden_size, chunk_size * action_size)
        self.chunk_size = chunk_size

    def forward(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """See the module."""
        given = self.condition(condition) + self.time(time)
        x = self.first(noisy.flatten(1))
        for norm, film, body in zip(self.norms, self.films, self.bodies, strict=True):
            scale, shift = film(given).chunk(2, -1)
            x = x + body(norm(x) * (1.0 + scale) + shift)
        return self.last(x).reshape(noisy.shape)

    def new_embodiment(self, action_size: int) -> None:
        """Fresh first and last layers for another action size."""
        self.first = nn.Linear(self.chunk_size * action_size, self.first.out_features)
        self.last = nn.Linear(self.last.in_features, self.chunk_size * action_size)


class UNetDenoiser(nn.Module):
    """One-dimensional U-Net over time with FiLM (Diffusion Policy, Chi et al. 2023, arXiv:2303.04137, section III).

    Deviation: any chunk size works; the chunk is padded at its end to a multiple of the network's stride.

    Args:
        action_size: A.
        chunk_size: T.
        condition_size: F.
        widths: channels of the levels.
        kernel: odd length of the convolutions.
        groups: of the normalisation.
    """

    def __init__(
        self,
        *,
        action_size: int,
        chunk_size: int,
        condition_size: int,
        widths: Sequence[int] = (64, 128),
        kernel: int = 5,
        groups: int = 8,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0 or any(w % groups for w in widths):
            raise ConfigError(f"kernel={kernel} must be odd and widths={tuple(widths)} multiples of groups={groups}")
        widths = tuple(widths)
        size = 4 * _TIME_SIZE
        self.time, self.chunk_size, self.stride = TimeEmbedding(size), chunk_size, 2 ** (len(widths) - 1)
        given = size + condition_size

        def block(into: int, out: int) -> _Residual:
            return _Residual(into, out, given, kernel, groups)

        self.first = nn.Conv1d(action_size, widths[0], 1)
        down = zip((widths[0], *widths[:-1]), widths, strict=True)
        self.down = nn.ModuleList(nn.ModuleList([block(a, b), block(b, b)]) for a, b in down)
        self.shrink = nn.ModuleList(nn.Conv1d(w, w, 3, stride=2, padding=1) for w in widths[:-1])
        self.middle = nn.ModuleList([block(widths[-1], widths[-1]), block(widths[-1], widths[-1])])
        up = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose1d(a, a, 4, stride=2, padding=1) for a, _ in up)
        self.up = nn.ModuleList(nn.ModuleList([block(a + b, b), block(b, b)]) for a, b in up)
        self.smooth = nn.Sequential(
            nn.Conv1d(widths[0], widths[0], kernel, padding=kernel // 2), nn.GroupNorm(groups, widths[0]), nn.Mish()
        )
        self.last = nn.Conv1d(widths[0], action_size, 1)

    def forward(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """See the module."""
        given = torch.cat([self.time(time), condition], -1)
        x = nn.functional.pad(noisy.transpose(1, 2), (0, -noisy.shape[1] % self.stride))
        x, kept = self.first(x), []
        for i, (one, two) in enumerate(self.down):
            x = two(one(x, given), given)
            if i < len(self.shrink):
                kept.append(x)
                x = self.shrink[i](x)
        for block in self.middle:
            x = block(x, given)
        for grow, (one, two) in zip(self.grow, self.up, strict=True):
            x = two(one(torch.cat([grow(x), kept.pop()], 1), given), given)
        return self.last(self.smooth(x)).transpose(1, 2)[:, : noisy.shape[1]]

    def new_embodiment(self, action_size: int) -> None:
        """Fresh first and last layers for another action size."""
        self.first = nn.Conv1d(action_size, self.first.out_channels, 1)
        self.last = nn.Conv1d(self.last.in_channels, action_size, 1)


class _Residual(nn.Module):
    def __init__(self, into: int, out: int, given: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.one = nn.Sequential(
            nn.Conv1d(into, out, kernel, padding=kernel // 2), nn.GroupNorm(groups, out), nn.Mish()
        )
        self.two = nn.Sequential(nn.Conv1d(out, out, kernel, padding=kernel // 2), nn.GroupNorm(groups, out), nn.Mish())
        self.film = nn.Sequential(nn.Mish(), nn.Linear(given, 2 * out))
        self.skip = nn.Conv1d(into, out, 1) if into != out else nn.Identity()

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        scale, shift = self.film(given)[..., None].chunk(2, 1)
        return self.two(self.one(x) * (1.0 + scale) + shift) + self.skip(x)


class DiTDenoiser(nn.Module):
    """Diffusion transformer with adaLN-zero (Peebles and Xie 2022, arXiv:2212.09748): one token per step.

    Args:
        action_size: A.
        chunk_size: T.
        condition_size: F.
        width: of the tokens, a multiple of `heads`.
        layers: how many blocks.
        heads: of the attention.
    """

    def __init__(
        self,
        *,
        action_size: int,
        chunk_size: int,
        condition_size: int,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"width={width} must be a multiple of heads={heads}")
        self.time, self.condition = TimeEmbedding(width), nn.Linear(condition_size, width)
        self.first, self.last = nn.Linear(action_size, width), nn.Linear(width, action_size)
        self.order = nn.Parameter(0.02 * torch.randn(chunk_size, width))
        self.blocks = nn.ModuleList(_AdaBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.adapt = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        for layer in (self.adapt[1], self.last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """See the module."""
        given = self.time(time) + self.condition(condition)
        x = self.first(noisy) + self.order[: noisy.shape[1]]
        for block in self.blocks:
            x = block(x, given)
        scale, shift = self.adapt(given)[:, None].chunk(2, -1)
        return self.last(self.norm(x) * (1.0 + scale) + shift)

    def new_embodiment(self, action_size: int) -> None:
        """Fresh first and last layers for another action size."""
        self.first = nn.Linear(action_size, self.first.out_features)
        self.last = nn.Linear(self.last.in_features, action_size)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)


class _AdaBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.one = nn.LayerNorm(width, elementwise_affine=False)
        self.two = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.adapt = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        nn.init.zeros_(self.adapt[1].weight)
        nn.init.zeros_(self.adapt[1].bias)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        a_scale, a_shift, a_gate, m_scale, m_shift, m_gate = self.adapt(given)[:, None].chunk(6, -1)
        normed = self.one(x) * (1.0 + a_scale) + a_shift
        x = x + a_gate * self.attention(normed, normed, normed, need_weights=False)[0]
        return x + m_gate * self.mlp(self.two(x) * (1.0 + m_scale) + m_shift)


DENOISERS = {"mlp": MLPDenoiser, "unet": UNetDenoiser, "dit": DiTDenoiser}
