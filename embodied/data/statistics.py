"""Statistics of dataset columns: what policies normalise with, under LeRobot's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_PICTURES, _PIXELS = 32, 64  # sampled per episode, and per side of a picture

Stats = Mapping[str, np.ndarray]


def of_values(values: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics over the first axis of `(N, ...)` numbers; each has the shape of one row, `count` is `(1,)`."""
    values = np.asarray(values, dtype=np.float64)
    found = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    return {**found, **quantiles(values), "count": np.array([len(values)])}


def quantiles(values: np.ndarray) -> dict[str, np.ndarray]:
    """Quantiles over the first axis of `(N, ...)`."""
    return dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values()), axis=0), strict=True))


def of_pictures(pictures: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Per channel, in [0, 1], shape `(3, 1, 1)`, of a sample of the pictures `(H, W, 3)` uint8."""
    chosen = [pictures[i] for i in np.linspace(0, len(pictures) - 1, min(len(pictures), _PICTURES)).astype(int)]
    step = max(1, min(chosen[0].shape[:2]) // _PIXELS)
    pixels = np.concatenate([p[::step, ::step].reshape(-1, 3) for p in chosen]) / 255.0
    found = {k: np.reshape(v, (3, 1, 1)) for k, v in of_values(pixels).items() if k != "count"}
    return {**found, "count": np.array([len(chosen)])}


def merged(parts: Sequence[Stats]) -> dict[str, np.ndarray]:
    """Statistics of the union: exact but for the quantiles, which are means weighted by count."""
    counts = np.array([float(np.ravel(p["count"])[0]) for p in parts])
    weights = counts / counts.sum()

    def mean(name: str) -> np.ndarray:
        return np.tensordot(weights, np.stack([p[name] for p in parts]), axes=1)

    centre = mean("mean")
    square = np.tensordot(
        weights, np.stack([np.square(p["std"]) + np.square(p["mean"] - centre) for p in parts]), axes=1
    )
    found = {
        "min": np.min([p["min"] for p in parts], axis=0),
        "max": np.max([p["max"] for p in parts], axis=0),
        "mean": centre,
        "std": np.sqrt(square),
        **{name: mean(name) for name in QUANTILES},
    }
    return {**found, "count": np.array([int(counts.sum())])}
