"""The Fourier head: the paper's toy table, its frequency sweep, and the public implementation side by side.

Toy table (Gillman et al. 2025, arXiv:2410.22269, table 1): 5000 points, 4000 for training, two quantised inputs, 50
bins, an MLP 2-64-32-head, Adam 1e-3, batches of 32, 500 epochs, as the public scripts have it. All seeds and data sets
of a head are trained in one process by `vmap`: each model has its own data, order, gradient and Adam state.

The peer is github.com/nate-gillman/fourier-head, its folder named by FOURIER_HEAD_PATH.

    OMP_NUM_THREADS=1 python benchmarks/fourier_head.py [--quick]
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))
import common

from embodied.policies.fourier import FourierLinear
from embodied.policies.fourier_series import bin_centers

POINTS, HELD_OUT, BINS, BATCH, VARIANCE = 5000, 1000, 50, 32, 0.01
DATA = ("gaussian", "gmm2", "beta")
SWEEP = (2, 4, 6, 8, 12, 16, 20)
# Means of the figures saved in the public repository, seeds 1, 2, 3, 42: KL [nats], MSE, smoothness.
PUBLISHED = {
    ("gaussian", "linear"): (0.170, 0.0106, 0.116),
    ("gaussian", "fourier"): (0.116, 0.0124, 0.057),
    ("gaussian", "gmm"): (0.026, 0.0104, 0.068),
    ("gmm2", "linear"): (0.238, 0.1265, 0.068),
    ("gmm2", "fourier"): (0.146, 0.1229, 0.038),
    ("gmm2", "gmm"): (0.030, 0.1198, 0.043),
    ("beta", "linear"): (0.234, 0.2758, 0.127),
    ("beta", "fourier"): (0.191, 0.2749, 0.077),
    ("beta", "gmm"): (0.407, 0.2733, 0.061),
}
SIZES = {"toy (d 32, m 50, N 12)": (32, 50, 12, 32), "large (d 256, m 4096, N 550)": (256, 4096, 550, 16)}


class AtMost(common.Metric):
    """The smaller the better."""

    @property
    def ok(self) -> bool | None:
        """Whether the ratio is at most the target."""
        return None if self.ratio is None or self.target is None else self.ratio <= self.target


class GaussianMixture(nn.Module):
    """The paper's parametric baseline: means of a tanh, one learned width per component, equal weights."""

    def __init__(self, in_features: int, components: int) -> None:
        super().__init__()
        self.means = nn.Linear(in_features, components)
        self.width = nn.Parameter(torch.full((components,), math.log(math.expm1(2.0 / BINS))))
        self.register_buffer("z", bin_centers(BINS))

    def forward(self, features: Tensor) -> Tensor:
        """Logits `(..., BINS)`."""
        width = F.softplus(self.width).unsqueeze(-1)
        scaled = (self.z - torch.tanh(self.means(features)).unsqueeze(-1)) / width
        return ((-0.5 * scaled.square()).exp() / (width * math.sqrt(2.0 * math.pi))).mean(-2).add(1e-5).log()


def points(data: str, seed: int) -> np.ndarray:
    """`(POINTS, 3)`: two inputs and the target."""
    rng, deviation = np.random.default_rng(seed), math.sqrt(VARIANCE)
    x = rng.uniform(-0.8, 0.8, POINTS)
    if data == "gmm2":
        y = rng.uniform(-0.8, 0.8, POINTS)
        z = [rng.normal(x[i] if rng.uniform(0, 1) < 0.5 else y[i], deviation) for i in range(POINTS)]
        return np.stack([x, y, np.array(z)], axis=1)
    y = rng.normal(x, deviation)
    if data == "gaussian":
        return np.stack([x, y, rng.normal(y, deviation)], axis=1)
    sign = rng.choice([1, -1], size=POINTS)
    z = [sign[i] * rng.beta(abs(100 * x[i]), abs(100 * y[i])) for i in range(POINTS)]
    return np.stack([x, y, np.array(z)], axis=1)


def truth(data: str, inputs: np.ndarray) -> np.ndarray:
    """The true pmf `(n, BINS)` of inputs `(n, 2)`."""
    centers = bin_centers(BINS, dtype=torch.float64).numpy()
    x, y = inputs[:, :1], inputs[:, 1:]

    def normal(mean: np.ndarray) -> np.ndarray:
        pmf = np.exp(-((centers - mean) ** 2) / (2 * VARIANCE))
        return pmf / pmf.sum(axis=1, keepdims=True)

    if data == "gaussian":
        return normal(y)
    if data == "gmm2":
        return (normal(x) + normal(y)) / 2
    a, b, z = np.abs(100 * x), np.abs(100 * y), centers[BINS // 2 :]
    logarithm = (a - 1) * np.log(z) + (b - 1) * np.log1p(-z)
    half = np.exp(logarithm - logarithm.max(axis=1, keepdims=True))
    pmf = np.concatenate([half[:, ::-1], half], axis=1)
    return pmf / pmf.sum(axis=1, keepdims=True)


class Toy:
    """The data of several models `(S, ...)`.

    Args:
        cases: data set and seed of each model.
    """

    def __init__(self, cases: Sequence[tuple[str, int]]) -> None:
        self.cases = list(cases)
        order = np.random.RandomState(42).permutation(POINTS)
        sets = [points(*case) for case in cases]
        indices = torch.tensor(np.stack([self._bins(s) for s in sets]))
        held_out, training = order[:HELD_OUT], order[HELD_OUT:]
        self.x, self.y = indices[:, training, :2].float(), indices[:, training, 2]
        self.test_x, self.test_y = indices[:, held_out, :2].float(), indices[:, held_out, 2]
        self.truth = torch.tensor(
            np.stack([truth(data, s[held_out, :2]) for (data, _), s in zip(cases, sets, strict=True)])
        )

    @staticmethod
    def _bins(values: np.ndarray) -> np.ndarray:
        return np.clip(np.digitize(values, np.linspace(-1, 1, BINS + 1)) - 1, 0, BINS - 1)

    def train(self, head: Callable[[str], nn.Module], epochs: int) -> list[dict[str, float]]:
        """Trains one model per case and measures it.

        Args:
            head: makes the last layer for a data set.
            epochs: over the training points.
        """
        models = []
        for data, seed in self.cases:
            torch.manual_seed(seed)
            last = head(data)
            models.append(nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), last))
        weights, buffers = stack_module_state(models)
        adam = torch.optim.Adam(weights.values(), lr=1e-3, fused=True)

        def forward(own: dict[str, Tensor], constants: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(models[0], (own, constants), (x,))

        together = vmap(forward)
        generators = [torch.Generator().manual_seed(seed) for _, seed in self.cases]
        row = torch.arange(len(models))[:, None]
        for _ in range(epochs):
            order = torch.stack([torch.randperm(self.x.shape[1], generator=g) for g in generators])
            for batch in order.split(BATCH, dim=1):
                logits = together(weights, buffers, self.x[row, batch])
                cost = F.cross_entropy(logits.flatten(0, 1), self.y[row, batch].flatten(), reduction="sum")
                adam.zero_grad()
                (cost / BATCH).backward()
                adam.step()
        with torch.no_grad():
            pmf = together(weights, buffers, self.test_x).softmax(dim=-1)
        return [self._measure(i, p) for i, p in enumerate(pmf)]

    def _measure(self, case: int, pmf: Tensor) -> dict[str, float]:
        target, centers = self.truth[case], bin_centers(BINS)
        kl = F.kl_div((pmf + 1e-10).log(), target, reduction="batchmean")
        expected = centers[(pmf @ torch.arange(BINS).float()).round().long()]
        mse = (expected - centers[self.test_y[case]]).square().mean()
        return {"kl": float(kl), "mse": float(mse), "smoothness": float(smoothness(pmf.double()))}


def smoothness(pmf: Tensor) -> Tensor:
    """Weighted distance `(n, m)` to the pmf smoothed by Gaussians of 1 to 100 bins, mean over rows; low is smooth."""
    m = pmf.shape[1]
    offset, total = torch.arange(1 - m, m, dtype=torch.float64), torch.zeros(len(pmf), dtype=torch.float64)
    for sigma in range(1, 101):
        kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
        wrapped = torch.zeros(m, dtype=torch.float64).index_add(0, offset.long() % m, kernel / kernel.sum())
        circulant = torch.stack([wrapped.roll(i) for i in range(m)])
        total += 6.0 / (math.pi * sigma) ** 2 * (pmf - pmf @ circulant).norm(dim=1)
    return total.mean()


def heads() -> dict[str, Callable[[str], nn.Module]]:
    """Makers of the last layers."""
    return {
        "linear": lambda data: nn.Linear(32, BINS),
        "fourier": lambda data: FourierLinear(32, BINS, num_frequencies=12),
        "fourier even": lambda data: FourierLinear(32, BINS, num_frequencies=12, extension="even"),
        "gmm": lambda data: GaussianMixture(32, 2 if data != "gaussian" else 1),
    }


def table(seeds: Sequence[int], epochs: int, names: Sequence[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Figures of every data set and head, mean over seeds, with all KLs."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for name in names:
        # A mixture has one component more on two of the data sets: its models do not stack.
        groups = [("gaussian",), ("gmm2", "beta")] if name == "gmm" else [DATA]
        for group in groups:
            toy, begin = Toy([(data, seed) for data in group for seed in seeds]), time.process_time()
            for (data, _), row in zip(toy.cases, toy.train(heads()[name], epochs), strict=True):
                found.setdefault((data, name), []).append(row)
            print(f"{name} on {', '.join(group)}: {time.process_time() - begin:.0f} CPU-s", flush=True)
    return {key: {**mean(rows), "kl_by_seed": [row["kl"] for row in rows]} for key, rows in found.items()}


def mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means of the figures."""
    return {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}


def table_metrics(rows: dict[tuple[str, str], dict[str, Any]], full: bool) -> list[common.Metric]:
    """Fourier against linear in the same run, against the published figures, and the other heads."""
    metrics: list[common.Metric] = []
    for data in DATA:
        ours, linear, paper = rows[data, "fourier"], rows[data, "linear"], PUBLISHED[data, "fourier"]
        here, limit = "linear softmax head, same run", {"target_is": "at most"}
        more = {**limit, "mse": ours["mse"], "linear_mse": linear["mse"], "kl_by_seed": ours["kl_by_seed"]}
        ratio = ours["kl"] / linear["kl"]
        metrics.append(AtMost(f"{data}: KL [nats]", ours["kl"], linear["kl"], here, ratio, 1.0 if full else None, more))
        ratio, target = ours["smoothness"] / linear["smoothness"], 0.6 if full else None
        name, values = f"{data}: L2 smoothness", (ours["smoothness"], linear["smoothness"])
        published = paper[2] / PUBLISHED[data, "linear"][2]
        metrics.append(AtMost(name, *values, here, ratio, target, {**limit, "published_ratio": published}))
        name, distance = f"{data}: KL, distance to the published", abs(ours["kl"] - paper[0])
        metrics.append(AtMost(name, ours["kl"], paper[0], "saved runs", distance, 0.08 if full else None, limit))
    for (data, name), row in rows.items():
        paper = PUBLISHED.get((data, name))
        figures = {key: row[key] for key in ("mse", "smoothness")}
        if paper:
            figures |= {"published_mse": paper[1], "published_smoothness": paper[2]}
        about = "published" if paper else "ours alone"
        metrics.append(
            common.Metric(f"{data}: KL of {name}", row["kl"], paper[0] if paper else None, about, None, None, figures)
        )
    return metrics


def sweep(orders: Sequence[int], seeds: Sequence[int], epochs: int) -> list[common.Metric]:
    """KL and smoothness on GMM-2 against the number of frequencies."""
    toy, rows = Toy([("gmm2", seed) for seed in seeds]), {}
    for n in orders:
        rows[n] = mean(toy.train(lambda data, n=n: FourierLinear(32, BINS, num_frequencies=n), epochs))
        print("sweep", n, rows[n], flush=True)
    best = min(rows, key=lambda n: rows[n]["kl"])
    rank = np.argsort(np.argsort([rows[n]["smoothness"] for n in orders]))
    spearman = float(np.corrcoef(rank, np.arange(len(orders)))[0, 1])
    more = {
        "kl": {n: row["kl"] for n, row in rows.items()},
        "smoothness": {n: r["smoothness"] for n, r in rows.items()},
    }
    within = float(4 <= best <= 14)
    return [
        common.Metric("gmm2: KL with 2 frequencies", rows[2]["kl"], 0.385, "published", rows[2]["kl"], 0.33, more),
        common.Metric("gmm2: best number of frequencies in 4..14", best, 6, "published", within, 1.0, {}),
        common.Metric("gmm2: Spearman of smoothness and frequencies", spearman, None, "", spearman, 0.8, {}),
    ]


def side_by_side(rounds: int) -> list[common.Metric]:
    """Equality and speed against the public implementation."""
    folder = os.environ.get("FOURIER_HEAD_PATH", "")
    if not folder:
        missing = "fourier-head: git clone https://github.com/nate-gillman/fourier-head; FOURIER_HEAD_PATH=…"
        return [common.Metric("public implementation", None, None, missing, None, None, {})]
    module, metrics = load_peer(folder), []
    for size, (d, m, n, rows) in SIZES.items():
        torch.manual_seed(0)
        peer = module.Fourier_Head(d, m, n, device="cpu")
        ours = FourierLinear(d, m, num_frequencies=n)
        ours.coefficients.load_state_dict(peer.fc_extract_autocorrelation_params.state_dict())
        x, y = torch.randn(rows, d), torch.randint(m, (rows,))
        metrics += equality(size, ours, peer, x)
        repeats = 200 if m < 100 else 1
        for name, way in (("forward", forward_only), ("forward and backward", with_backward)):
            way(ours, x, y), way(peer, x, y)
            costs = [(cpu_s(way, ours, x, y, repeats), cpu_s(way, peer, x, y, repeats)) for _ in range(rounds)]
            own, other = (statistics.median(c[i] for c in costs) for i in (0, 1))
            ratio = statistics.median(b / a for a, b in costs)
            more = {"ratio_is": "peer's CPU-seconds over ours", "rows": rows}
            label = f"{size}: {name} [CPU-ms]"
            metrics.append(common.Metric(label, 1e3 * own, 1e3 * other, "fourier-head 94fa374", ratio, 1.0, more))
    return metrics


def same_recipe(rows: dict[tuple[str, str], dict[str, Any]], seeds: Sequence[int], epochs: int) -> list[common.Metric]:
    """The public layer trained as ours on GMM-2: tells the layer's share in a difference to the published figures."""
    folder = os.environ.get("FOURIER_HEAD_PATH", "")
    if not folder:
        return []
    layer, toy = load_peer(folder).Fourier_Head, Toy([("gmm2", seed) for seed in seeds])
    peer = mean(toy.train(lambda data: layer(32, BINS, 12, device="cpu"), epochs))
    ours = rows["gmm2", "fourier"]
    more = {"target_is": "at most", "peer_smoothness": peer["smoothness"], "peer_mse": peer["mse"]}
    name, ratio = "gmm2: KL of our layer and the public layer, same recipe", ours["kl"] / peer["kl"]
    return [AtMost(name, ours["kl"], peer["kl"], "fourier-head 94fa374", ratio, 1.15, more)]


def load_peer(folder: str) -> ModuleType:
    """The public module, which has the name of this one."""
    spec = importlib.util.spec_from_file_location("public_fourier_head", Path(folder) / "fourier_head.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def equality(size: str, ours: FourierLinear, peer: nn.Module, x: Tensor) -> list[common.Metric]:
    """Largest differences: of the pmf in float32, and of the logits with the peer's constants in float64.

    In float32 the peer's sums differ from zero by their rounding where the pmf is zero, which the logarithm enlarges.
    """
    with torch.no_grad():
        own, other = ours(x), peer(x)
        pmf = float((own.softmax(-1) - other.softmax(-1)).abs().max())
        rounding = float((own - other).abs().max())
        peer.double()
        frequencies, centers, kind = peer.frequencies, peer.bin_centerpoints, peer.dtype
        peer.frequencies = 1j * torch.pi * torch.arange(1, peer.num_frequencies + 1, dtype=torch.float64)
        peer.bin_centerpoints, peer.dtype = bin_centers(ours.out_features, dtype=torch.float64), torch.float64
        exact = float((own - peer(x.double())).abs().max())
        peer.float()
        peer.frequencies, peer.bin_centerpoints, peer.dtype = frequencies, centers, kind
    more = {"target_is": "at most", "logits_float32": rounding}
    name = "fourier-head 94fa374"
    return [
        AtMost(f"{size}: difference of the pmf", pmf, None, name, pmf, 1e-5, more),
        AtMost(f"{size}: difference of the logits to the exact peer", exact, None, name, exact, 1e-5, {}),
    ]


def forward_only(layer: nn.Module, x: Tensor, y: Tensor) -> None:
    with torch.no_grad():
        layer(x)


def with_backward(layer: nn.Module, x: Tensor, y: Tensor) -> None:
    F.cross_entropy(layer(x), y).backward()


def cpu_s(way: Callable[..., None], layer: nn.Module, x: Tensor, y: Tensor, repeats: int) -> float:
    begin = time.process_time()
    for _ in range(repeats):
        way(layer, x, y)
    return (time.process_time() - begin) / repeats


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    seeds, epochs = ((1, 2), 60) if quick else ((1, 2, 3, 42), 500)
    metrics = side_by_side(5 if quick else 15)
    names = ("linear", "fourier") if quick else tuple(heads())
    rows = table(seeds, epochs, names)
    metrics += table_metrics(rows, full=not quick)
    if not quick:
        metrics += same_recipe(rows, seeds, epochs)
        metrics += sweep(SWEEP, seeds[:2], epochs)
    for metric in metrics:
        print(metric.name, metric.ours, metric.peer, metric.ratio, metric.ok)
    return common.finish("fourier_head", metrics, seeds=seeds, quick=quick, epochs=epochs)


if __name__ == "__main__":
    sys.exit(main())
