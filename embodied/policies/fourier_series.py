"""Densities on [-1, 1] as truncated Fourier series (Gillman et al. 2025, Fourier Head, arXiv:2410.22269).

A sequence `a_0 .. a_{L-1}` gives the density `p(z) = |A(z)|^2 / (2 sum_k |a_k|^2)`, `A(z) = sum_k a_k e^{i k phi(z)}`.
Written out, with the autocorrelation `c_k = sum_l a_{l+k} conj(a_l)`,
`p(z) = 1/2 + Re sum_{k>=1} (c_k / c_0) e^{i k phi(z)}`: the squares make it non-negative, the missing constant terms
make its integral one, whatever the sequence and its scale.

- periodic (the paper's): `phi = pi z`, `L = N + 1` complex numbers. `p(-1) = p(1)`.
- even (ours): `phi = pi (z + 1) / 2` runs over [0, pi] and the sequence is real, so that `|A(-phi)| = |A(phi)|`: the
  series is a cosine series in `phi`, the two limits are mirrors and not neighbours. `L = 2 (N + 1)` real numbers: as
  many parameters, and as fine a resolution, as the periodic series of N. By the theorem of Fejer and Riesz every
  non-negative cosine polynomial of that degree is reached. `int_0^pi cos(k phi) dphi = 0` keeps the integral one.

Deviation: densities are evaluated as the square of `A` and not as the sum over `c_k`, which rounding can make negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from embodied.core.errors import ConfigError

Extension = Literal["periodic", "even"]
EXTENSIONS: tuple[Extension, ...] = ("periodic", "even")
NEWTON_STEPS = 8


def speed(extension: Extension) -> float:
    """`dphi / dz` [rad]."""
    return math.pi if extension == "periodic" else math.pi / 2


def phase(z: Tensor, extension: Extension) -> Tensor:
    """`phi(z)` [rad]."""
    return math.pi * z if extension == "periodic" else (math.pi / 2) * (z + 1.0)


def sequence_of(parameters: Tensor, extension: Extension) -> Tensor:
    """The complex sequence `(..., L)` of real parameters `(..., 2 (N + 1))`.

    Periodic: the first half are real parts, the second half imaginary ones. Even: all are real parts.
    """
    if extension == "even":
        return torch.complex(parameters, torch.zeros_like(parameters))
    return torch.complex(*parameters.chunk(2, dim=-1))


def bin_centers(m: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """The centres `(m,)` of m equal bins on [-1, 1]."""
    return (torch.arange(m, dtype=torch.float64) * 2.0 + 1.0).div(m).sub(1.0).to(dtype)


def amplitude_basis(num_frequencies: int, m: int, extension: Extension) -> Tensor:
    """The real matrix `(2 (N + 1), 2 m)` that maps parameters to real and imaginary parts of `A` at the bin centres."""
    n = num_frequencies + 1
    order = torch.arange(n if extension == "periodic" else 2 * n, dtype=torch.float64)
    angle = order[:, None] * phase(bin_centers(m, dtype=torch.float64), extension)
    real_part = torch.cat([angle.cos(), angle.sin()], dim=1)
    if extension == "even":
        return real_part.float()
    return torch.cat([real_part, torch.cat([-angle.sin(), angle.cos()], dim=1)]).float()


def autocorrelation(sequence: Tensor) -> Tensor:
    """`c_0 .. c_{L-1}` of sequences `(..., L)`, by the theorem of Wiener and Khinchin: O(L log L)."""
    length = sequence.shape[-1]
    spectrum = torch.fft.fft(sequence, n=_smooth_size(2 * length - 1))
    return torch.fft.ifft(spectrum.real.square() + spectrum.imag.square())[..., :length]


def _smooth_size(least: int) -> int:
    """The smallest size of at least `least` that has no prime factors but 2, 3 and 5."""
    size = least
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1


@dataclass(frozen=True)
class FourierDensity:
    """Densities on [-1, 1], one per row.

    Attributes:
        sequence: complex `(..., L)`, see the module.
        extension: periodic or even.
    """

    sequence: Tensor
    extension: Extension

    def __post_init__(self) -> None:
        if self.extension not in EXTENSIONS:
            raise ConfigError(f"FourierDensity: extension='{self.extension}' must be one of {', '.join(EXTENSIONS)}")

    @staticmethod
    def of(parameters: Tensor, extension: Extension) -> FourierDensity:
        """Of real parameters `(..., 2 (N + 1))`."""
        return FourierDensity(sequence_of(parameters, extension), extension)

    def density(self, z: Tensor) -> Tensor:
        """`p(z)`, for z that broadcasts against the rows."""
        value = (self.sequence * self._waves(z)).sum(dim=-1)
        total = self.sequence.real.square() + self.sequence.imag.square()
        return (value.real.square() + value.imag.square()) / (2.0 * total.sum(dim=-1))

    def log_prob(self, z: Tensor, *, floor: float = 0.0) -> Tensor:
        """`log p(z)`; with a floor that of the mixture `(1 - floor) p + floor / 2`, whose gradient is bounded."""
        if floor:
            return ((1.0 - floor) * self.density(z) + 0.5 * floor).log()
        return self.density(z).clamp(min=torch.finfo(self.sequence.real.dtype).tiny).log()

    def cdf(self, z: Tensor) -> Tensor:
        """`int_{-1}^z p`, closed form, for z that broadcasts against the rows."""
        sine, cosine = self._integrals()
        order = self._order()[1:]
        angle = phase(z, self.extension).unsqueeze(-1) * order
        first = torch.cos(order * self._first_phase())
        terms = sine * angle.sin() + cosine * (angle.cos() - first)
        return ((z + 1.0) / 2.0 + terms.sum(dim=-1)).clamp(0.0, 1.0)

    @torch.no_grad()
    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw per row by inversion of the closed-form CDF: a table gives the cell, guarded Newton steps the place.

        Args:
            generator: of the uniform numbers, on any device; None takes torch's own.
        """
        rows = self.sequence.shape[:-1]
        device = generator.device if generator is not None else self.sequence.device
        uniform = torch.rand(rows, generator=generator, device=device).to(self.sequence.real)
        low, high = self._cell(uniform)
        z = (low + high) / 2.0
        for _ in range(NEWTON_STEPS):
            excess = self.cdf(z) - uniform
            low, high = torch.where(excess < 0.0, z, low), torch.where(excess < 0.0, high, z)
            guess = z - excess / self.density(z).clamp(min=1e-6)
            z = torch.where((guess >= low) & (guess <= high), guess, (low + high) / 2.0)
        return z.clamp(-1.0, 1.0)

    def _cell(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """The ends of the cell of an even grid in which the CDF takes the values."""
        cells = 4 * self.sequence.shape[-1]
        grid = torch.linspace(-1.0, 1.0, cells + 1, dtype=uniform.dtype, device=uniform.device)
        order = self._order()[1:, None]
        angle = order * phase(grid, self.extension)
        sine, cosine = self._integrals()
        table = (grid + 1.0) / 2.0 + sine @ angle.sin()
        table = table + cosine @ (angle.cos() - torch.cos(order * self._first_phase()))
        index = (table[..., 1:-1] < uniform.unsqueeze(-1)).sum(dim=-1)
        return grid[index], grid[index + 1]

    def _integrals(self) -> tuple[Tensor, Tensor]:
        """Coefficients `(..., L - 1)` of `sin(k phi)` and `cos(k phi)` in the CDF."""
        c = autocorrelation(self.sequence)
        scaled = c[..., 1:] / (c[..., :1].real * self._order()[1:] * speed(self.extension))
        return scaled.real, scaled.imag

    def _first_phase(self) -> float:
        return -math.pi if self.extension == "periodic" else 0.0

    def _order(self) -> Tensor:
        real = self.sequence.real
        return torch.arange(self.sequence.shape[-1], dtype=real.dtype, device=real.device)

    def _waves(self, z: Tensor) -> Tensor:
        angle = phase(z, self.extension).unsqueeze(-1) * self._order()
        return torch.complex(angle.cos(), angle.sin())
