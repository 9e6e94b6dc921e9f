"""The Fourier head as a layer (Gillman et al. 2025, Fourier Head, arXiv:2410.22269): logits of a smooth density.

Deviations from the published layer, which `extension='periodic'` and `penalty='published'` reproduce:
- The pmf is the square of the amplitude at the bin centres over its sum, by one matrix product or, for many bins, one
  FFT; the autocorrelation is never formed unless the penalty needs it. Same numbers, never negative.
- `extension='even'` (see `fourier_series`): mass at -1 does not leak to +1. Parameters and resolution are the same.
- `penalty='scale_invariant'`: the density does not depend on the scale of the coefficients, but the published penalty
  does, so that a network can evade it by shrinking them; ours is on `c_k / c_0`.
- The penalty is in `penalty` after every forward pass; its sums are not computed where `gamma` is 0.

`init_scale` (the paper divides by 100) changes no output at the start, since the scale cancels: it makes the first
steps of the optimiser larger against the weights.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from embodied.core.errors import ConfigError
from embodied.policies.fourier_series import (
    EXTENSIONS,
    Extension,
    FourierDensity,
    amplitude_basis,
    autocorrelation,
    phase,
    sequence_of,
    speed,
)

PENALTIES = ("published", "scale_invariant")
FFT_FROM = 1 << 18


class FourierLinear(nn.Module):
    """Features `(..., in_features)` to logits `(..., out_features)`, in place of `nn.Linear`.

    `softmax(logits)` is the density at the bin centres, up to `floor`.

    Args:
        in_features: d.
        out_features: m bins on [-1, 1].
        num_frequencies: N; the layer has `(d + 1) 2 (N + 1)` parameters.
        gamma: weight of the smoothness penalty.
        floor: added to the probabilities before the logarithm.
        init_scale: factor of the usual initial weights.
        extension: `periodic` (the paper's) or `even` (limits that are no neighbours).
        penalty: `published` or `scale_invariant`.

    Attributes:
        penalty: scalar, gamma times the roughness `4 sum_k w_k^2 |c_k|^2` (w_k the angular frequency), mean over rows.
    """

    basis: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        num_frequencies: int,
        gamma: float = 0.0,
        floor: float = 1e-5,
        init_scale: float = 0.01,
        extension: Extension = "periodic",
        penalty: Literal["published", "scale_invariant"] = "published",
    ) -> None:
        super().__init__()
        _check(in_features, out_features, num_frequencies, gamma, floor, init_scale, extension, penalty)
        self.in_features, self.out_features, self.num_frequencies = in_features, out_features, num_frequencies
        self.gamma, self.floor, self.extension, self.penalty_kind = gamma, floor, extension, penalty
        self.coefficients = nn.Linear(in_features, 2 * (num_frequencies + 1))
        with torch.no_grad():
            self.coefficients.weight.mul_(init_scale)
            self.coefficients.bias.mul_(init_scale)
        length = (num_frequencies + 1) * (1 if extension == "periodic" else 2)
        self.fft_size = out_features * (1 if extension == "periodic" else 2)
        self.by_fft = length <= self.fft_size and 2 * (num_frequencies + 1) * 2 * out_features >= FFT_FROM
        self.register_buffer("basis", self._twist(length) if self.by_fft else self._matrix(), persistent=False)
        self.penalty = torch.zeros(())

    def forward(self, features: Tensor) -> Tensor:
        """Logits `(..., m)`."""
        parameters = self.coefficients(features)
        if parameters.dtype != self.basis.dtype or torch.is_autocast_enabled(features.device.type):
            with torch.autocast(features.device.type, enabled=False):
                return self._logits(parameters.to(self.basis.dtype))
        return self._logits(parameters)

    def distribution(self, features: Tensor) -> FourierDensity:
        """The continuous densities behind the logits, one per row of `(..., in_features)`; sets the penalty too."""
        parameters = self.coefficients(features).float()
        self.penalty = self._penalty(parameters)
        return FourierDensity.of(parameters, self.extension)

    def extra_repr(self) -> str:
        """Sizes in `print(layer)`."""
        return f"bins={self.out_features}, num_frequencies={self.num_frequencies}, extension={self.extension}"

    def __getstate__(self) -> dict[str, Any]:
        """A copy takes the penalty without its graph, which cannot be copied."""
        return {**self.__dict__, "penalty": self.penalty.detach()}

    def _logits(self, parameters: Tensor) -> Tensor:
        self.penalty = self._penalty(parameters)
        power = self._power_by_fft(parameters) if self.by_fft else self._power_by_product(parameters)
        return torch.log(power / power.sum(dim=-1, keepdim=True) + self.floor)

    def _power_by_product(self, parameters: Tensor) -> Tensor:
        """`|A|^2` at the bin centres."""
        real, imaginary = (parameters @ self.basis).chunk(2, dim=-1)
        return real * real + imaginary * imaginary

    def _power_by_fft(self, parameters: Tensor) -> Tensor:
        twisted = sequence_of(parameters, self.extension) * torch.view_as_complex(self.basis)
        value = torch.fft.ifft(twisted, n=self.fft_size)[..., : self.out_features]
        return value.real.square() + value.imag.square()

    def _penalty(self, parameters: Tensor) -> Tensor:
        if not self.gamma:
            return parameters.new_zeros(())
        c = autocorrelation(sequence_of(parameters, self.extension))
        size = c.real.square() + c.imag.square()
        if self.penalty_kind == "scale_invariant":
            size = size / size[..., :1]
        frequency = torch.arange(size.shape[-1], dtype=size.dtype, device=size.device) * speed(self.extension)
        return self.gamma * 4.0 * (size @ frequency.square()).mean()

    def _matrix(self) -> Tensor:
        return amplitude_basis(self.num_frequencies, self.out_features, self.extension)

    def _twist(self, length: int) -> Tensor:
        """`e^{i k phi}` at the first bin centre, `(L, 2)`: moves the grid of the FFT onto the bin centres."""
        first = phase(torch.tensor(1.0 / self.out_features - 1.0, dtype=torch.float64), self.extension)
        angle = torch.arange(length, dtype=torch.float64) * first
        return torch.stack([angle.cos(), angle.sin()], dim=-1).float()


def _check(
    in_features: int,
    out_features: int,
    num_frequencies: int,
    gamma: float,
    floor: float,
    init_scale: float,
    extension: str,
    penalty: str,
) -> None:
    for name, value, least in (
        ("in_features", in_features, 1),
        ("out_features", out_features, 2),
        ("num_frequencies", num_frequencies, 1),
        ("gamma", gamma, 0),
        ("floor", floor, 0),
    ):
        if value < least:
            raise ConfigError(f"FourierLinear: {name}={value} must be at least {least}")
    if init_scale <= 0.0:
        raise ConfigError(f"FourierLinear: init_scale={init_scale} must be positive")
    if extension not in EXTENSIONS:
        raise ConfigError(f"FourierLinear: extension='{extension}' must be one of {', '.join(EXTENSIONS)}")
    if penalty not in PENALTIES:
        raise ConfigError(f"FourierLinear: penalty='{penalty}' must be one of {', '.join(PENALTIES)}")
