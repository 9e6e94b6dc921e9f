"""What is said in an episode as LeRobot's language columns ("v3.1" in its sources; LeRobot after 0.4.4 reads them).

Two columns stand beside the frames. `language_persistent` holds the rows that stay true until the next of their style,
each with the time at which it began, and is the same on every frame of an episode. `language_events` holds what
happened on that very frame. A row is (role, content, style, timestamp, camera, tool_calls); an event has no timestamp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

PERSISTENT, EVENTS = "language_persistent", "language_events"
SUBTASK = "subtask"
_LASTING = ("subtask", "plan", "memory", "motion", "task_aug")
_FIELDS = {"role": pa.string(), "content": pa.string(), "style": pa.string(), "timestamp": pa.float32()}
_FIELDS |= {"camera": pa.string(), "tool_calls": pa.list_(pa.string())}
PERSISTENT_TYPE = pa.list_(pa.struct([pa.field(k, t, k not in ("role", "timestamp")) for k, t in _FIELDS.items()]))
EVENTS_TYPE = pa.list_(pa.struct([pa.field(k, t, k != "role") for k, t in _FIELDS.items() if k != "timestamp"]))
FEATURES = {key: {"dtype": "language", "shape": [1], "names": None} for key in (PERSISTENT, EVENTS)}


def rows_of(said: Sequence[str], timestamps: np.ndarray) -> list[dict[str, Any]]:
    """The persistent rows of one episode: what was said, when it began to be said.

    Args:
        said: one sentence per frame.
        timestamps: of the frames `(T,)` [s].
    """
    before = ["", *said[:-1]]
    return [
        {
            "role": "assistant",
            "content": now,
            "style": SUBTASK,
            "timestamp": float(t),
            "camera": None,
            "tool_calls": None,
        }
        for now, last, t in zip(said, before, timestamps, strict=True)
        if now != last
    ]


def columns(episodes: Iterable[tuple[Sequence[str], np.ndarray]]) -> tuple[pa.Array, pa.Array]:
    """Both columns of some episodes, one after the other, from `(said, timestamps)` of each."""
    rows: list[list[dict[str, Any]]] = []
    for said, timestamps in episodes:
        rows += [rows_of(said, timestamps)] * len(said)
    return pa.array(rows, PERSISTENT_TYPE), pa.array([[]] * len(rows), EVENTS_TYPE)


def said_at(rows: Iterable[Mapping[str, Any]], timestamps: np.ndarray) -> list[str]:
    """One sentence per frame: the latest subtask that had begun; empty before the first.

    Args:
        rows: persistent rows of the episode.
        timestamps: of its frames `(T,)` [s].
    """
    spoken = sorted(
        ((r["timestamp"], r["content"] or "") for r in rows if r["style"] == SUBTASK), key=lambda pair: pair[0]
    )
    begun = np.searchsorted(np.array([t for t, _ in spoken], np.float32), timestamps.astype(np.float32), side="right")
    return [spoken[i - 1][1] if i else "" for i in begun]


def faults(rows: Sequence[Mapping[str, Any]], timestamps: np.ndarray) -> Iterator[str]:
    """What LeRobot would refuse or misread in the persistent rows of one episode.

    Args:
        rows: persistent rows of the episode.
        timestamps: of its frames `(T,)` [s].
    """
    for row in rows:
        where = f"row at {row['timestamp']:g} s"
        if row["style"] not in _LASTING:
            yield f"{where}: style {row['style']!r} does not last; styles that do: {', '.join(_LASTING)}"
        if row["content"] is None and row["tool_calls"] is None:
            yield f"{where} says nothing"
        if row["camera"] is not None:
            yield f"{where}: names camera {row['camera']!r}, which only vqa and trace do"
        if not np.isclose(timestamps, row["timestamp"], atol=1e-4).any():
            yield f"{where}: no frame has that time; they end at {float(timestamps[-1]):g} s"
