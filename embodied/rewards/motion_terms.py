"""Motion terms: named costs with a norm and a weight, written out as the source of a batched `RewardProgram`.

Norms after MuJoCo MPC (Howell et al. 2022, arXiv:2212.00541), each zero at zero with slope or curvature 1 scaled by p:
`quadratic` x.x / 2, `l2` sqrt(x.x + p^2) - p, `smooth_abs` sum sqrt(x^2 + p^2) - p.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from embodied.core.errors import RewardCodeError

NORMS = ("quadratic", "l2", "smooth_abs")
PRELUDE = '''import numpy as np


def quadratic(x, p):
    return 0.5 * np.sum(x * x, axis=-1)


def l2(x, p):
    return np.sqrt(np.sum(x * x, axis=-1) + p * p) - p


def smooth_abs(x, p):
    return np.sum(np.sqrt(x * x + p * p) - p, axis=-1)


def scalar(x):
    return x[..., np.newaxis]


def wrapped(angle):
    return angle - 2.0 * np.pi * np.round(angle / (2.0 * np.pi))
'''


@dataclass(frozen=True)
class MotionTerm:
    """One cost.

    Attributes:
        name: an identifier, unique in its program.
        residual: a Python expression of shape `(..., k)` over `world` and `action`; zero is perfect.
        weight: what the norm is multiplied by, 0 or more.
        norm: one of `NORMS`.
        p: the norm's rounding, in the residual's unit.
    """

    name: str
    residual: str
    weight: float
    norm: str = "l2"
    p: float = 0.05

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.norm not in NORMS or not self.p > 0 or not self.weight >= 0:
            raise RewardCodeError(
                f"term '{self.name}': name must be an identifier, norm one of {', '.join(NORMS)}, p above 0 and weight"
                f" at least 0; got norm={self.norm!r}, p={self.p}, weight={self.weight}"
            )


def program_source(terms: Sequence[MotionTerm], *, helpers: str = "", title: str = "") -> str:
    """Source of `reward(world, action)`: minus each cost, under its name, with the weights in `WEIGHTS`.

    Raises:
        RewardCodeError: no term, or two of one name.
    """
    names = [term.name for term in terms]
    if not terms or len(set(names)) != len(names):
        raise RewardCodeError(f"a program needs terms of different names, got: {', '.join(names) or 'none'}")
    weights = "".join(f'    "{t.name}": {t.weight:g},\n' for t in terms)
    lines = "".join(f'        "{t.name}": -{t.norm}({t.residual}, {t.p:g}),\n' for t in terms)
    head = f'"""{title}"""\n\n' if title else ""
    parts = [f"{head}{PRELUDE}", helpers.strip("\n") + "\n" if helpers else "", f"WEIGHTS = {{\n{weights}}}\n"]
    body = f"def reward(world, action):\n    return {{\n{lines}    }}\n"
    return "\n\n".join([part for part in parts if part] + [body])


def checked_number(call: str, name: str, value: Any, low: float, high: float) -> float:
    """An argument of a motion call as a float.

    Raises:
        RewardCodeError: not a finite number, or outside `[low, high]`; names call, argument, value and range.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise RewardCodeError(f"{call}: {name}={value!r} must be a number or None")
    if not low <= value <= high:
        raise RewardCodeError(f"{call}: {name}={value:g} is outside [{low:g}, {high:g}]")
    return float(value)
