"""The policy contract: observations in, a chunk of actions out, instructable while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

STATE_KEY = "observation.state"
IMAGES_PREFIX = "observation.images."


@runtime_checkable
class Policy(Protocol):
    """What acts, in simulation and on a robot. Observation keys are LeRobot's."""

    features: Mapping[str, tuple[int, ...]]

    def reset(self, instruction: str) -> None:
        """Begins an episode."""
        ...

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """Gives an action chunk `(chunk, A)` in [-1, 1]."""
        ...

    def instruct(self, text: str) -> None:
        """Changes the instruction while the policy runs."""
        ...
