"""When a policy is asked for its next chunk, and which actions stay as they are until that chunk is there.

Real-time chunking by prefix freezing (Black et al. 2025, arXiv:2506.07339): the next chunk is asked for while the robot
still executes the last one, early enough for the delay seen so far, and begins with the actions that will have been
executed by then. Deviation: the actions after the prefix are free; the paper also pulls them softly to the old chunk.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

RECENT = 5  # delays that the next one is judged by


class Chunking:
    """The rhythm of one policy.

    Args:
        policy: acts; `n_action_steps` actions of a chunk are executed before the next (1 where it does not say).
        step_s: between two actions [s].
        quick_s: an answer within this comes in time for its own step [s].
        continues: whether chunks begin with what is committed. Otherwise each is what the policy would do if it were in
            time, and the gate leads from the old targets to the new ones.
    """

    def __init__(self, policy: Any, step_s: float, quick_s: float = 0.0, *, continues: bool = True) -> None:
        self.policy, self.step_s, self.quick_s, self.continues = policy, step_s, quick_s, continues
        self.every = int(getattr(policy, "n_action_steps", 1))
        self._delays: deque[float] = deque(maxlen=RECENT)
        self.begin()

    def begin(self) -> None:
        """A new episode."""
        self._last: np.ndarray | None = None
        self._asked = 0

    @property
    def lead(self) -> int:
        """Steps by which the next chunk is asked for early."""
        late_s = max(self._delays, default=0.0) - self.quick_s
        return min(max(math.ceil(late_s / self.step_s - 1e-9), 0), self.every - 1)

    def due(self, step: int) -> bool:
        """Whether it is time to ask."""
        return self._last is None or step - self._asked >= self.every - self.lead

    def ask(self, observation: Mapping[str, Any], step: int) -> np.ndarray:
        """The policy's chunk `(T, A)` for what is seen at a step of the episode."""
        committed = None
        if self.continues and self._last is not None and self.lead:
            done = step - self._asked
            committed = self._last[done : done + self.lead]
        given = {} if committed is None or not len(committed) else {"prefix": committed}
        self._last, self._asked = np.asarray(self.policy.act(observation, **given)), step
        return self._last

    def took(self, delay_s: float) -> None:
        """How long after its observation a chunk arrived [s]."""
        self._delays.append(delay_s)
