"""Batches of windows over a dataset: what supervised training reads.

Legend of shapes: B windows per batch, T steps of a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.errors import ConfigError, UnknownNameError
from embodied.data.dataset import Dataset
from embodied.data.frame_cache import decoded


class Windows:
    """Random access to windows of a dataset.

    A window is a frame and, for every feature, the frames at given steps from it. Steps beyond the episode repeat its
    first or last frame and are marked in `<key>_is_pad`.

    Args:
        dataset: the dataset.
        steps: by feature, the steps from the frame, e.g. `{"action": range(16), "observation.state": (0,)}`.
        episodes: which episodes; None takes all.
        sizes: by picture feature, the (height, width) [pixels] to which pictures are shrunk.
        cache: folder of the decoded pictures; None takes the user's.

    Raises:
        UnknownNameError: no such feature or episode.
    """

    def __init__(
        self,
        dataset: Dataset,
        steps: Mapping[str, Sequence[int]],
        *,
        episodes: Sequence[int] | None = None,
        sizes: Mapping[str, tuple[int, int]] | None = None,
        cache: Path | None = None,
    ) -> None:
        self.dataset = dataset
        self.steps = {key: np.asarray(list(value), dtype=np.int64) for key, value in steps.items()}
        chosen = range(len(dataset.episodes)) if episodes is None else episodes
        for index in chosen:
            if not 0 <= index < len(dataset.episodes):
                raise UnknownNameError("episode", str(index), [str(r.index) for r in dataset.episodes])
        rows = [dataset.episodes[i] for i in chosen]
        if not rows:
            raise ConfigError(f"no episode of {dataset.folder} is chosen")
        self.frames = np.concatenate([np.arange(r.start, r.stop) for r in rows])
        self._first = np.zeros(len(dataset), dtype=np.int64)
        self._last = np.zeros(len(dataset), dtype=np.int64)
        for row in rows:
            self._first[row.start : row.stop], self._last[row.start : row.stop] = row.start, row.stop - 1
        sizes = sizes or {}
        self._values = {
            key: decoded(dataset, key, sizes.get(key), cache) if key in dataset.cameras else dataset.column(key)
            for key in self.steps
        }

    def __len__(self) -> int:
        return len(self.frames)

    def at(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The windows `rows` of `0..len-1`: by feature `(B, T, *shape)`, and `<key>_is_pad (B, T)`."""
        frames = self.frames[rows]
        batch: dict[str, np.ndarray] = {"index": frames}
        for key, steps in self.steps.items():
            wanted = frames[:, None] + steps
            inside = np.clip(wanted, self._first[frames][:, None], self._last[frames][:, None])
            batch[key] = self._values[key][inside]
            batch[f"{key}_is_pad"] = wanted != inside
        return batch


class Batches:
    """An endless, seeded, exactly resumable stream of batches: every window once per epoch, in a new order.

    Args:
        windows: where from.
        batch_size: B; the last, smaller batch of an epoch is left out.
        seed: of the orders.
    """

    def __init__(self, windows: Windows, *, batch_size: int, seed: int) -> None:
        if not 1 <= batch_size <= len(windows):
            raise ConfigError(f"batch_size={batch_size} must lie within 1 and the {len(windows)} windows")
        self.windows, self.batch_size, self.seed = windows, batch_size, seed
        self.epoch, self.position = 0, 0
        self._order = self._shuffled()

    def _shuffled(self) -> np.ndarray:
        return np.random.default_rng([self.seed, self.epoch]).permutation(len(self.windows))

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self.position + self.batch_size > len(self._order):
            self.epoch, self.position = self.epoch + 1, 0
            self._order = self._shuffled()
        rows = self._order[self.position : self.position + self.batch_size]
        self.position += self.batch_size
        return self.windows.at(np.sort(rows))

    def state(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"epoch": self.epoch, "position": self.position}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state()` of a stream built alike."""
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
        self._order = self._shuffled()
