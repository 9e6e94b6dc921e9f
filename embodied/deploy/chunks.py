"""Action chunks on their way to motion: stamped, ordered, re-timed to the control rate, blended into each other.

A chunk's k-th row (from 1) is where the joints shall be k steps after the observation that it was made from. Rows whose
time has passed are skipped. A new chunk is blended in against the *last command*, never the measured position: the
difference at the moment of the change fades out over `blend_s`, so targets have no step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from embodied.core.errors import ConfigError

QUICK_S = 0.003  # a policy that answers within this acts in the same control period


@dataclass(frozen=True)
class Chunk:
    """Joint targets with the observation that they belong to.

    Attributes:
        id: rises with every chunk of a policy.
        observed_s: when the observation was taken, monotonic clock [s].
        step_s: time between two rows [s].
        targets: `(T, J)` [rad].
        start: where the joints were told to be at the observation `(J,)` [rad].
    """

    id: int
    observed_s: float
    step_s: float
    targets: tuple[tuple[float, ...], ...]
    start: tuple[float, ...]


class ChunkStream:
    """The targets that a policy's chunks mean at every moment.

    Args:
        n_joints: J.
        max_age_s: an older observation's chunk is refused [s].
        blend_s: time over which a difference to the last command fades [s].

    Attributes:
        refused: why chunks were refused, with how often.
    """

    def __init__(self, n_joints: int, *, max_age_s: float, blend_s: float = 0.0) -> None:
        self.n_joints, self.max_age_s, self.blend_s = n_joints, max_age_s, blend_s
        self._chunk: Chunk | None = None
        self._newest = -1
        self._offset, self._since_s = (0.0,) * n_joints, 0.0
        self.refused: dict[str, int] = {}

    def offer(self, chunk: Chunk, now_s: float, last_command: Sequence[float]) -> bool:
        """Takes a chunk, unless it is old, late, out of order or malformed; says whether it was taken."""
        why = self._fault(chunk, now_s)
        if why:
            self.refused[why] = self.refused.get(why, 0) + 1
            return False
        self._newest, self._chunk = chunk.id, chunk
        if self.blend_s > 0.0:
            begin = _at(chunk, now_s)
            self._offset = tuple(a - b for a, b in zip(last_command, begin, strict=True))
            self._since_s = now_s
        return True

    def target(self, now_s: float) -> tuple[tuple[float, ...], float] | None:
        """Targets `(J,)` [rad] at a moment, and the stamp of the observation behind them; None before the first.

        After a chunk's end its last row stays, ageing: the gate refuses it once it is too old.
        """
        if self._chunk is None:
            return None
        wanted = _at(self._chunk, now_s)
        left = 1.0 - (now_s - self._since_s) / self.blend_s if self.blend_s > 0.0 else 0.0
        if left > 0.0:
            wanted = tuple(w + left * o for w, o in zip(wanted, self._offset, strict=True))
        end_s = self._chunk.observed_s + self._chunk.step_s * len(self._chunk.targets)
        return wanted, self._chunk.observed_s + max(0.0, min(now_s, end_s) - self._chunk.observed_s)

    def clear(self) -> None:
        """Forgets the present chunk; ids go on."""
        self._chunk = None

    def _fault(self, chunk: Chunk, now_s: float) -> str:
        if chunk.id <= self._newest:
            return "older than the newest"
        if not 0.0 <= now_s - chunk.observed_s <= self.max_age_s:
            return "observation too old or in the future"
        if not chunk.targets or chunk.step_s <= 0.0 or len(chunk.start) != self.n_joints:
            return "malformed"
        if any(len(row) != self.n_joints or not all(map(math.isfinite, row)) for row in chunk.targets):
            return "not finite or of a wrong shape"
        return ""


def make_chunk(id: int, observed_s: float, step_s: float, targets: Sequence, start: Sequence[float]) -> Chunk:
    """A chunk of plain floats from arrays."""
    if not (math.isfinite(step_s) and step_s > 0.0):
        raise ConfigError(f"step_s={step_s!r} must be a positive number of seconds")
    rows = tuple(tuple(float(x) for x in row) for row in targets)
    return Chunk(id, float(observed_s), float(step_s), rows, tuple(float(x) for x in start))


def _at(chunk: Chunk, now_s: float) -> tuple[float, ...]:
    """Linear between rows; the start before the first, the last row after the end."""
    place = (now_s - chunk.observed_s) / chunk.step_s
    if place >= len(chunk.targets):
        return chunk.targets[-1]
    if place <= 0.0:
        return chunk.start
    k = math.floor(place)
    share = place - k
    a = chunk.start if k == 0 else chunk.targets[k - 1]
    return tuple(x + share * (y - x) for x, y in zip(a, chunk.targets[k], strict=True))
