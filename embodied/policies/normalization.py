"""Normalisation of states and actions, as data that travels with a policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied.core.errors import CheckpointError, ConfigError

_SMALL = 1e-4


@dataclass(frozen=True)
class Normalization:
    """Actions linearly onto [-1, 1], states to zero mean and unit deviation (as DiffusionVLA's released code).

    Attributes:
        action_low: what becomes -1, `(A,)`.
        action_high: what becomes 1, `(A,)`.
        state_mean: `(S,)`.
        state_std: `(S,)`, never below 0.01.
    """

    action_low: np.ndarray
    action_high: np.ndarray
    state_mean: np.ndarray
    state_std: np.ndarray

    @staticmethod
    def of(stats: Mapping[str, Mapping[str, np.ndarray]], action: str, state: str, *, robust: bool = False) -> Any:
        """From a dataset's statistics; `robust` takes the 1% and 99% quantiles of the actions, not their extremes."""
        low, high = ("q01", "q99") if robust else ("min", "max")
        for key in (action, state):
            if key not in stats:
                raise ConfigError(f"the dataset has no statistics of '{key}'; it has those of {', '.join(stats)}")
        std = np.maximum(stats[state]["std"], 1e-2)
        return Normalization(
            *(np.asarray(v, dtype=np.float32) for v in (stats[action][low], stats[action][high])),
            *(np.asarray(v, dtype=np.float32) for v in (stats[state]["mean"], std)),
        )

    def actions(self, raw: np.ndarray) -> np.ndarray:
        """Raw actions `(..., A)` to [-1, 1]; beyond the range they are clipped."""
        middle, half = self._span
        return np.clip((raw - middle) / half, -1.0, 1.0).astype(np.float32)

    def raw_actions(self, normalised: np.ndarray) -> np.ndarray:
        """Inverse of `actions`."""
        middle, half = self._span
        return middle + half * np.asarray(normalised, dtype=np.float32)

    @property
    def _span(self) -> tuple[np.ndarray, np.ndarray]:
        return 0.5 * (self.action_high + self.action_low), np.maximum(
            0.5 * (self.action_high - self.action_low), _SMALL
        )

    def states(self, raw: np.ndarray) -> np.ndarray:
        """Raw states `(..., S)` to about unit size."""
        return ((raw - self.state_mean) / self.state_std).astype(np.float32)

    def to_json(self) -> dict[str, list[float]]:
        """Plain data."""
        return {name: np.asarray(getattr(self, name), dtype=float).tolist() for name in self.__dataclass_fields__}

    @staticmethod
    def from_json(value: Mapping[str, Any], action_size: int, state_size: int) -> Normalization:
        """Reads plain data.

        Raises:
            CheckpointError: sizes that are not the policy's, or a value that cannot be.
        """
        try:
            found = Normalization(
                **{name: np.asarray(value[name], np.float32) for name in Normalization.__dataclass_fields__}
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"statistics are incomplete: {error}") from None
        for name, size in (("action", action_size), ("state", state_size)):
            for field in (f for f in found.__dict__ if f.startswith(name)):
                array = getattr(found, field)
                if array.shape != (size,) or not np.isfinite(array).all():
                    raise CheckpointError(f"statistics '{field}' {array.shape} do not fit {size} {name} components")
        if (found.action_high < found.action_low).any() or (found.state_std <= 0).any():
            raise CheckpointError("statistics are impossible: an upper bound below the lower, or a deviation of zero")
        return found
