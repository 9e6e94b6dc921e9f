"""Plans as splines: a few knots per action component, interpolated to control steps.

All kinds are linear in the knots, so a plan is one matrix product and shifting it in time is another.
"""

from __future__ import annotations

import numpy as np

from embodied.core.errors import UnknownNameError

KINDS = ("zero", "linear", "cubic")


def basis(positions: np.ndarray, n_knots: int, kind: str) -> np.ndarray:
    """Weights of the knots at `positions`, measured in knots from the first (0 to K-1; clamped to that range).

    Args:
        positions: `(P,)`.
        n_knots: K, at least 1.
        kind: `zero` holds a knot until the next one, `linear`, or `cubic` (Catmull-Rom: passes through the
            knots, tangents from the neighbours, the ends repeated).

    Returns:
        `(P, K)`, rows sum to 1.

    Raises:
        UnknownNameError: no such kind.
    """
    if kind not in KINDS:
        raise UnknownNameError("spline", kind, KINDS)
    at = np.clip(np.asarray(positions, dtype=np.float64), 0.0, n_knots - 1.0)
    left = np.minimum(at.astype(np.int64), max(n_knots - 2, 0))
    if kind == "zero":
        left = np.floor(at + 1e-9).astype(np.int64)
        return np.eye(n_knots)[left]
    s = at - left
    if kind == "linear":
        offsets, weights = (0, 1), np.stack([1.0 - s, s], axis=-1)
    else:
        offsets = (-1, 0, 1, 2)
        weights = 0.5 * np.stack(
            [-s + 2 * s**2 - s**3, 2 - 5 * s**2 + 3 * s**3, s + 4 * s**2 - 3 * s**3, -(s**2) + s**3], axis=-1
        )
    found = np.zeros((len(at), n_knots))
    rows = np.arange(len(at))
    for offset, weight in zip(offsets, weights.T, strict=True):
        np.add.at(found, (rows, np.clip(left + offset, 0, n_knots - 1)), weight)
    return found


def step_basis(n_knots: int, n_steps: int, kind: str) -> np.ndarray:
    """Weights that turn K knots, spread evenly over the horizon, into the actions of H steps: `(H, K)`."""
    return basis(np.linspace(0.0, n_knots - 1.0, n_steps), n_knots, kind)


def shift_basis(n_knots: int, n_steps: int, kind: str, elapsed_steps: float) -> np.ndarray:
    """Weights that give the knots of the same plan seen `elapsed_steps` later: `(K, K)`; the end is held."""
    per_step = (n_knots - 1) / max(n_steps - 1, 1)
    return basis(np.arange(n_knots) + elapsed_steps * per_step, n_knots, kind)
