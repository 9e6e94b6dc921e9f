"""Small statistics: intervals for success rates, the area under the ROC curve."""

from __future__ import annotations

import math

import numpy as np


def wilson_interval(successes: int, trials: int, confidence_z: float = 1.959964) -> tuple[float, float]:
    """95% Wilson score interval of a success rate (Wilson 1927).

    Args:
        successes: number of successes, 0..trials.
        trials: number of trials; 0 gives (0, 1).
        confidence_z: normal quantile of the two-sided level.

    Returns:
        Lower and upper bound in [0, 1].
    """
    if trials == 0:
        return 0.0, 1.0
    rate, z = successes / trials, confidence_z
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    # Exact at the ends, where rounding would give 0.9999999999999999.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def auc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Probability that a positive ranks above a negative, ties counted half (area under the ROC curve).

    Args:
        positives: scores `(p,)` of good examples.
        negatives: scores `(q,)` of bad examples.
    """
    good, bad = np.asarray(positives, float)[:, None], np.asarray(negatives, float)[None, :]
    return float(np.mean((good > bad) + 0.5 * (good == bad)))
