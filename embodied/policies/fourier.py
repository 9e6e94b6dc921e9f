"""The Fourier head (Gillman et al. 2024, arXiv:2410.22269): a layer that learns a smooth density on [-1, 1].

A linear map gives complex amplitudes `a_0 .. a_N`. The density is that of the squared modulus of their Fourier series,
hence never negative and of integral one by construction:

    p(z) = |sum_k a_k e^(i k pi z)|^2 / (2 sum_k |a_k|^2) = 1/2 + Re sum_(m>=1) (c_m / c_0) e^(i m pi z),
    c_m = sum_k a_(k+m) conj(a_k).

It is read at the centres of equal bins and normalised over them.

Deviations from the published layer:
- The squared modulus is evaluated itself, `O(N m)` for m bins, instead of the autocorrelation's `O(N^2)` and then the
  series; the values are equal. The autocorrelation is computed (by FFT) for the penalty and the closed forms alone.
- `extension="even"`: the published density is periodic, so that mass at one limit of an action leaks to the other.
  Here `theta = pi (z + 1) / 2` in [0, pi] takes the place of `pi z`, and the series' squared moduli at theta and -theta
  are averaged: only cosines remain, `p(z) = 1/2 + sum_(m>=1) (Re c_m / c_0) cos(m theta)`, and the limits are apart.
- `penalty="scale_invariant"`: the published penalty `2 sum_m 2 pi^2 m^2 |c_m|^2` can be escaped by making all
  amplitudes small, which leaves the density as it is; this one takes `c_m / c_0`.

Legend of shapes: (...) batch, N frequencies, m bins.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from embodied.core.errors import ConfigError

_BISECTIONS = 30


class FourierLinear(nn.Module):
    """In place of `nn.Linear(in_features, out_features)` wherever the outputs are logits of neighbouring bins.

    Args:
        in_features: of the input.
        out_features: m, the number of bins on [-1, 1].
        num_frequencies: N; must be below half of m to save weights.
        gamma: weight that `penalty` gets in `loss = ... + layer.gamma * layer.penalty`.
        floor: added to the probabilities before their logarithm.
        init_scale: factor on the initial weights: small ones begin close to a uniform density.
        extension: `periodic` as published, or `even`.
        penalty: `published` or `scale_invariant`.

    Attributes:
        penalty: of the last forward pass, a scalar; 0 where gamma is 0.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        num_frequencies: int,
        gamma: float = 0.0,
        floor: float = 1e-5,
        init_scale: float = 0.01,
        extension: str = "periodic",
        penalty: str = "published",
    ) -> None:
        super().__init__()
        if num_frequencies < 1 or out_features < 2 or gamma < 0 or not floor > 0:
            raise ConfigError(
                f"num_frequencies={num_frequencies} must be at least 1, out_features={out_features} at least 2,"
                f" gamma={gamma} not negative, floor={floor} positive"
            )
        if extension not in ("periodic", "even") or penalty not in ("published", "scale_invariant"):
            raise ConfigError(
                f"extension={extension!r} is one of periodic, even; penalty={penalty!r} of published, scale_invariant"
            )
        self.num_frequencies, self.gamma, self.floor = num_frequencies, gamma, floor
        self.extension, self.penalty_kind = extension, penalty
        self.amplitudes_of = nn.Linear(in_features, 2 * (num_frequencies + 1))
        with torch.no_grad():
            self.amplitudes_of.weight.mul_(init_scale)
            self.amplitudes_of.bias.mul_(init_scale)
        centres = (torch.arange(out_features, dtype=torch.float64) + 0.5) * (2.0 / out_features) - 1.0
        self.register_buffer("basis", _basis(centres, num_frequencies, extension).float(), persistent=False)
        self.penalty = torch.zeros(())

    def forward(self, features: Tensor) -> Tensor:
        """Logits `(..., m)` whose softmax is the density at the bins' centres, normalised over them."""
        amplitudes = self.amplitudes(features)
        self.penalty = self._penalty(amplitudes) if self.gamma else torch.zeros((), device=features.device)
        series = amplitudes @ self.basis
        power = series.square().unflatten(-1, (2, -1)).sum(-2)
        if self.extension == "even":  # the two parts of the amplitudes are two real series, each squared alone
            power = power.unflatten(-1, (2, -1)).sum(-2)
        return (power / power.sum(-1, keepdim=True) + self.floor).log()

    def amplitudes(self, features: Tensor) -> Tensor:
        """Real parts, then imaginary parts, `(..., 2 (N + 1))`."""
        return self.amplitudes_of(features)

    def density(self, features: Tensor) -> Density:
        """The density itself, for continuous actions."""
        return Density(self.amplitudes(features), self.extension)

    def _penalty(self, amplitudes: Tensor) -> Tensor:
        c = autocorrelation(amplitudes)
        if self.penalty_kind == "scale_invariant":
            c = c / c[..., :1].real
        orders = torch.arange(c.shape[-1], device=c.device, dtype=amplitudes.dtype)
        return (4.0 * math.pi**2 * orders.square() * (c.real.square() + c.imag.square())).sum(-1).mean()


class Density:
    """Densities on [-1, 1] given by their amplitudes.

    Args:
        amplitudes: `(..., 2 (N + 1))`, as `FourierLinear.amplitudes` gives them.
        extension: `periodic` or `even`.
    """

    def __init__(self, amplitudes: Tensor, extension: str = "periodic") -> None:
        c = autocorrelation(amplitudes)
        c = c[..., 1:] / c[..., :1].real.clamp(min=torch.finfo(amplitudes.dtype).tiny)
        self.even = extension == "even"
        self.cosine, self.sine = c.real, torch.zeros_like(c.imag) if self.even else -c.imag
        self.orders = torch.arange(1, c.shape[-1] + 1, device=c.device, dtype=amplitudes.dtype)

    def _angles(self, z: Tensor) -> Tensor:
        theta = 0.5 * math.pi * (z + 1.0) if self.even else math.pi * z
        return theta[..., None] * self.orders

    def pdf(self, z: Tensor) -> Tensor:
        """Density at `z (...)`."""
        angles = self._angles(z)
        return (0.5 + (self.cosine * angles.cos() + self.sine * angles.sin()).sum(-1)).clamp(min=0.0)

    def log_prob(self, z: Tensor) -> Tensor:
        """Its logarithm, for maximum likelihood."""
        return self.pdf(z).clamp(min=1e-12).log()

    def cdf(self, z: Tensor) -> Tensor:
        """Probability below `z (...)`, in closed form."""
        angles, start = self._angles(z), self._angles(torch.full_like(z, -1.0))
        rate = self.orders * (0.5 * math.pi if self.even else math.pi)
        waves = self.cosine * (angles.sin() - start.sin()) - self.sine * (angles.cos() - start.cos())
        return 0.5 * (z + 1.0) + (waves / rate).sum(-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw from each `(...)`, by bisection of the distribution function."""
        shape, device = self.cosine.shape[:-1], self.cosine.device
        wanted = torch.rand(shape, generator=generator, device=device, dtype=self.cosine.dtype)
        low, high = torch.full_like(wanted, -1.0), torch.full_like(wanted, 1.0)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            below = self.cdf(middle) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return 0.5 * (low + high)


def autocorrelation(amplitudes: Tensor) -> Tensor:
    """`c_0 .. c_N` (complex) of amplitudes `(..., 2 (N + 1))` given as real parts, then imaginary parts."""
    real, imaginary = amplitudes.chunk(2, -1)
    n = real.shape[-1]
    spectrum = torch.fft.fft(torch.complex(real, imaginary), n=2 * n)
    return torch.fft.ifft(spectrum.real.square() + spectrum.imag.square(), n=2 * n)[..., :n]


def _basis(z: Tensor, num_frequencies: int, extension: str) -> Tensor:
    """What amplitudes are multiplied with, `(2 (N + 1), columns)`: columns are squared and added in pairs.

    Periodic: real part, imaginary part of the series. Even: cosines and sines of the real parts, then those of the
    imaginary parts; `|F(theta)|^2 + |F(-theta)|^2` is twice the sum of the four squares.
    """
    orders = torch.arange(num_frequencies + 1, dtype=z.dtype)[:, None]
    angles = orders * (0.5 * math.pi * (z + 1.0) if extension == "even" else math.pi * z)
    cos, sin = angles.cos(), angles.sin()
    if extension == "periodic":
        return torch.cat([torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)])
    zero = torch.zeros_like(cos)
    return torch.cat([torch.cat([cos, sin, zero, zero], 1), torch.cat([zero, zero, cos, sin], 1)])
