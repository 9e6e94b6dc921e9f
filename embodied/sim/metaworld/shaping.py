"""The bounded shaping functions that Meta-World's rewards are made of, over batches.

Meta-World (Yu et al. 2019, arXiv:1910.10897) takes them from dm_control (Tassa et al. 2018, arXiv:1801.00690).
Expert rewards of Meta-World tasks carry these functions in their own source, so they use numpy alone.
"""

from __future__ import annotations

import numpy as np


def long_tail(x, low, high, margin):
    """1 within [low, high]; outside 1 / (1 + 9 (d / margin)^2), d the distance to the nearer bound; 0.1 at the margin.

    All arguments broadcast, `(...)`. Where the margin is 0, values outside give 0.
    """
    beyond = np.maximum(low - x, x - high)
    scaled = 3.0 * beyond / np.where(margin > 0.0, margin, 1.0)
    value = np.where(margin > 0.0, 1.0 / (1.0 + scaled * scaled), 0.0)
    return np.where(beyond <= 0.0, 1.0, value)


def gaussian(x, low, high, margin):
    """1 within [low, high]; outside 0.1 ^ ((d / margin)^2), d the distance to the nearer bound; 0.1 at the margin.

    All arguments broadcast, `(...)`. Where the margin is 0, values outside give 0.
    """
    beyond = np.maximum(low - x, x - high)
    scaled = beyond / np.where(margin > 0.0, margin, 1.0)
    value = np.where(margin > 0.0, np.exp(np.log(0.1) * scaled * scaled), 0.0)
    return np.where(beyond <= 0.0, 1.0, value)


def both(a, b):
    """Hamacher product `a b / (a + b - a b)` of two values in [0, 1], a smooth "and"; 0 where both are 0. `(...)`."""
    total = a + b - a * b
    return np.where(total > 0.0, a * b / np.where(total > 0.0, total, 1.0), 0.0)


def caged(world, place, start, radius, pad_reach, reach_xz):
    """How well the two pads enclose the place `(..., 3)` [m] of an object, in [0, 1], `(...)`.

    Sideways (y) each pad shall be between `radius` and `pad_reach` [m] from the place, with a margin that depends on
    the pad's distance to the object's place `start (..., 3)` at the beginning; in the plane across (x, z) the point
    between the fingers shall be within `reach_xz` [m].
    """
    inside = []
    for pad in (world.fingers.left_pad[..., 1], world.fingers.right_pad[..., 1]):
        margin = np.abs(np.abs(pad - start[..., 1]) - pad_reach)
        inside.append(long_tail(np.abs(pad - place[..., 1]), radius, pad_reach, margin))
    across = np.linalg.norm((world.fingers.center - place)[..., 0::2], axis=-1)
    margin = np.linalg.norm((start - world.start.fingers)[..., 0::2], axis=-1) - reach_xz
    return both(both(inside[0], inside[1]), long_tail(across, 0.0, reach_xz, margin))


def gripped(cage, closing, effort):
    """`cage` and, where it is above 0.97, a commanded closing speed up to `effort`, in [0, 1], `(...)`."""
    squeeze = np.where(cage > 0.97, np.clip(closing, 0.0, effort) / effort, 0.0)
    return both(cage, squeeze)
