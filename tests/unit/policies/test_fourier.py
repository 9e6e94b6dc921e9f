from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.core.errors import ConfigError
from embodied.policies import fourier
from embodied.policies.fourier import FourierLinear
from embodied.policies.fourier_series import FourierDensity, autocorrelation, bin_centers, sequence_of

EXTENSIONS = ("periodic", "even")


def density(extension: str, rows: int = 3, n: int = 6, seed: int = 0) -> FourierDensity:
    parameters = torch.randn(rows, 2 * (n + 1), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return FourierDensity.of(parameters, extension)


def grid(points: int = 2001) -> torch.Tensor:
    return torch.linspace(-1.0, 1.0, points, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("extension", EXTENSIONS)
@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 20), m=st.integers(2, 80), seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3))
def test_the_pmf_is_one_and_knows_no_scale(extension: str, n: int, m: int, seed: int, scale: float) -> None:
    torch.manual_seed(seed)
    layer = FourierLinear(5, m, num_frequencies=n, extension=extension).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    pmf = layer(x).exp() - layer.floor
    assert pmf.min() >= -1e-12
    torch.testing.assert_close(pmf.sum(-1), torch.ones(4, dtype=torch.float64))
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(scale)
    torch.testing.assert_close(layer(x).exp() - layer.floor, pmf)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_the_density_is_that_of_the_series_and_integrates_to_one(extension: str) -> None:
    rows, z = density(extension), grid()
    values = rows.density(z)
    assert values.min() >= 0.0
    torch.testing.assert_close(torch.trapezoid(values, z, dim=0), torch.ones(3).double(), atol=1e-4, rtol=0)
    c = autocorrelation(rows.sequence)
    order = torch.arange(c.shape[-1])
    angle = order * (math.pi * z if extension == "periodic" else math.pi / 2 * (z + 1.0))
    series = 0.5 + (torch.polar(torch.ones_like(angle), angle)[:, None, 1:] * (c[:, 1:] / c[:, :1].real)).real.sum(-1)
    torch.testing.assert_close(series, values)


def test_autocorrelation_is_the_sum_of_products() -> None:
    a = density("periodic").sequence
    slow = [(a[:, k:] * a[:, : a.shape[1] - k].conj()).sum(-1) for k in range(a.shape[1])]
    torch.testing.assert_close(autocorrelation(a), torch.stack(slow, dim=-1))


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_the_cdf_is_the_integral(extension: str) -> None:
    rows, z = density(extension), grid()
    cdf = rows.cdf(z)
    torch.testing.assert_close(cdf[-1], torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(cdf[0], torch.zeros(3, dtype=torch.float64))
    assert (cdf.diff(dim=0) >= -1e-12).all()
    integral = torch.cumulative_trapezoid(rows.density(z), z, dim=0)
    torch.testing.assert_close(cdf[1:], integral, atol=1e-4, rtol=0)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_draws_follow_the_density(extension: str) -> None:
    parameters = torch.randn(1, 14, generator=torch.Generator().manual_seed(3)).expand(8000, -1)
    one = FourierDensity.of(parameters, extension)
    draws = one.sample(torch.Generator().manual_seed(0))
    assert draws.abs().max() <= 1.0
    assert torch.equal(draws, one.sample(torch.Generator().manual_seed(0)))
    expected = one.cdf(draws).sort().values
    empirical = torch.arange(1, 8001) / 8000
    assert (expected - empirical).abs().max() < 1.63 / math.sqrt(8000)  # Kolmogorov-Smirnov at the 1% level


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_sampling_inverts_the_cdf(extension: str) -> None:
    rows = density(extension, rows=500, n=16)
    uniform = torch.rand(500, generator=torch.Generator().manual_seed(5))
    draws = rows.sample(torch.Generator().manual_seed(5))
    torch.testing.assert_close(rows.cdf(draws), uniform.double(), atol=1e-6, rtol=0)


def fitted(extension: str, target: float) -> FourierDensity:
    """The density of maximum likelihood of one value."""
    torch.manual_seed(0)
    parameters = torch.randn(1, 18, requires_grad=True)
    adam = torch.optim.Adam([parameters], lr=0.05)
    for _ in range(300):
        adam.zero_grad()
        (-FourierDensity.of(parameters, extension).log_prob(torch.tensor(target), floor=1e-3)).sum().backward()
        adam.step()
    return FourierDensity.of(parameters.detach(), extension)


def test_mass_at_one_limit_leaks_to_the_other_only_where_the_series_is_periodic() -> None:
    limits = torch.tensor([[-1.0], [1.0]])
    left, right = fitted("even", -1.0).density(limits).flatten()
    assert left > 5.0
    assert right < 0.05
    left, right = fitted("periodic", -1.0).density(limits).flatten()
    torch.testing.assert_close(left, right)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_it_has_the_published_number_of_parameters(extension: str) -> None:
    layer = FourierLinear(32, 50, num_frequencies=12, extension=extension)
    assert sum(weight.numel() for weight in layer.parameters()) == 33 * 26
    assert layer(torch.zeros(2, 3, 32)).shape == (2, 3, 50)


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("penalty", ["published", "scale_invariant"])
@pytest.mark.parametrize("threshold", [0, 1 << 60])
def test_gradients(extension: str, penalty: str, threshold: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fourier, "FFT_FROM", threshold)
    torch.manual_seed(0)
    options = {"extension": extension, "penalty": penalty, "init_scale": 1.0, "gamma": 1e-2}
    layer = FourierLinear(3, 16, num_frequencies=4, **options).double()
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: (layer(x), layer.penalty), (x,))


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("n", [3, 12, 24])
def test_the_fft_gives_what_the_product_gives(extension: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, logits = torch.randn(7, 8, generator=torch.Generator().manual_seed(0)), []
    for threshold in (0, 1 << 60):
        monkeypatch.setattr(fourier, "FFT_FROM", threshold)
        torch.manual_seed(0)
        layer = FourierLinear(8, 40, num_frequencies=n, extension=extension)
        assert layer.by_fft is (threshold == 0)
        logits.append(layer(x))
    torch.testing.assert_close(logits[0].exp(), logits[1].exp())


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_the_logits_are_the_density_at_the_bin_centres(extension: str) -> None:
    torch.manual_seed(0)
    layer = FourierLinear(8, 40, num_frequencies=9, extension=extension).double()
    x = torch.randn(6, 8, dtype=torch.float64)
    values = layer.distribution(x).density(bin_centers(40, dtype=torch.float64)[:, None]).T
    torch.testing.assert_close(layer(x).exp() - layer.floor, (values / 20).to(torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("penalty", "factor"), [("published", 3.0**4), ("scale_invariant", 1.0)])
def test_only_the_scale_invariant_penalty_cannot_be_evaded(penalty: str, factor: float) -> None:
    torch.manual_seed(0)
    layer = FourierLinear(8, 40, num_frequencies=9, gamma=1e-3, penalty=penalty).double()
    x = torch.randn(6, 8, dtype=torch.float64)
    layer(x)
    before = layer.penalty
    assert before > 0
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(3.0)
    layer(x)
    torch.testing.assert_close(layer.penalty, before * factor)


def test_the_published_penalty_is_the_published_sum() -> None:
    torch.manual_seed(0)
    layer = FourierLinear(8, 40, num_frequencies=9, gamma=0.5).double()
    x = torch.randn(6, 8, dtype=torch.float64)
    layer(x)
    c = autocorrelation(sequence_of(layer.coefficients(x), "periodic"))
    expected = 0.5 * 4 * math.pi**2 * (torch.arange(10) ** 2 * c.abs() ** 2).sum(-1).mean()
    torch.testing.assert_close(layer.penalty, expected)


def test_a_layer_can_be_copied_after_use_and_runs_in_half_precision() -> None:
    layer = FourierLinear(8, 40, num_frequencies=9, gamma=0.5)
    x = torch.randn(6, 8)
    logits = layer(x)
    assert torch.equal(copy.deepcopy(layer)(x), logits)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.float32


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_frequencies": 0}, "num_frequencies=0 must be at least 1"),
        ({"gamma": -1.0}, "gamma=-1.0"),
        ({"extension": "odd"}, "extension='odd' must be one of periodic, even"),
        ({"penalty": "none"}, "published, scale_invariant"),
        ({"init_scale": 0.0}, "init_scale=0.0 must be positive"),
    ],
)
def test_wrong_arguments_are_named(wrong: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        FourierLinear(4, 8, **{"num_frequencies": 2, **wrong})
