"""Looks a dataset over: whether it is whole, and whether it can teach anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embodied.core.errors import CheckpointError
from embodied.data import language, layout, packing, statistics
from embodied.data.dataset import Dataset, EpisodeRow

_BLANK_STD, _TOLERANCE = 2.0, 1e-4


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (`error`) or that deserves a look (`warning`).

    Attributes:
        level: `error` or `warning`.
        where: file, feature or episode.
        what: in words, with the remedy.
    """

    level: str
    where: str
    what: str


def examine(folder: Path, *, films: bool = True) -> list[Finding]:
    """All findings on a dataset; none means that it is in order.

    Args:
        folder: of the dataset.
        films: decode the first and the last picture of every episode too.
    """
    found = [
        Finding("warning", str(path), "finished episodes wait to be packed: embodied data doctor <folder> --repair")
        for path in [Path(folder) / layout.STAGING]
        if path.exists() and any(path.iterdir())
    ]
    try:
        dataset = Dataset(folder)
        rows = dataset.episodes
    except CheckpointError as error:
        return [*found, Finding("error", str(folder), str(error))]
    if not rows:
        return [*found, Finding("error", str(folder), "it holds no episode")]
    for part in (_tables, _spans, _statistics, _actions, _sentences, _language):
        try:
            found += part(dataset)
        except CheckpointError as error:
            found.append(Finding("error", part.__name__.strip("_"), str(error)))
    if films:
        for row in rows:
            found += _films(dataset, row)
    return found


def _spans(dataset: Dataset) -> Iterator[Finding]:
    """Episodes follow each other, and each frame says where it belongs."""
    index, episode = dataset.column("index"), dataset.column("episode_index")
    frame, time = dataset.column("frame_index"), dataset.column("timestamp")
    if not np.array_equal(index, np.arange(len(dataset))):
        yield Finding("error", "index", f"is not 0..{len(dataset) - 1} in order")
    expected = 0
    for row in dataset.episodes:
        span = slice(row.start, row.stop)
        if row.start != expected or row.length < 1:
            yield Finding("error", f"episode {row.index}", f"spans frames {row.start}..{row.stop}, not from {expected}")
        expected = row.stop
        if not (episode[span] == row.index).all() or not np.array_equal(frame[span], np.arange(row.length)):
            yield Finding("error", f"episode {row.index}", "its frames are numbered otherwise in the tables")
        if np.abs(time[span] - np.arange(row.length) / dataset.fps).max(initial=0.0) > _TOLERANCE * row.length:
            yield Finding("error", f"episode {row.index}", f"timestamps are not multiples of 1/{dataset.fps} s")
    if expected != len(dataset):
        yield Finding("error", "meta/episodes", f"ends at frame {expected}, info.json counts {len(dataset)}")


def _tables(dataset: Dataset) -> Iterator[Finding]:
    """Every column can be read and is finite."""
    for key, feature in dataset.features.items():
        if feature.is_video or feature.dtype == "string":
            continue
        values = dataset.column(key)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            yield Finding("error", key, f"is not finite at frame {int(np.argwhere(~np.isfinite(values))[0][0])}")


def _statistics(dataset: Dataset) -> Iterator[Finding]:
    """What policies normalise with is that of these frames."""
    for key in (layout.ACTION, "observation.state"):
        if key not in dataset.features:
            yield Finding("error", key, "is missing: a policy cannot be fitted")
            continue
        if key not in dataset.stats:
            yield Finding("error", layout.STATS, f"says nothing of '{key}'")
            continue
        true, told = statistics.of_values(dataset.column(key)), dataset.stats[key]
        for name in ("min", "max", "mean", "std"):
            if np.shape(told[name]) != np.shape(true[name]) or not np.allclose(told[name], true[name], atol=1e-4):
                yield Finding("error", layout.STATS, f"'{name}' of '{key}' is not that of the frames")
        still = np.flatnonzero(true["std"] < 1e-6)
        if len(still):
            yield Finding("warning", key, f"components {still.tolist()} never change")


def _actions(dataset: Dataset) -> Iterator[Finding]:
    values = np.abs(dataset.column(layout.ACTION))
    share = float((values > 1.0 + 1e-6).any(axis=-1).mean())
    if share:
        yield Finding("warning", layout.ACTION, f"{share:.0%} of frames leave [-1, 1]: fine if units are physical")
    for row in dataset.episodes:
        if row.length < 2:
            yield Finding("warning", f"episode {row.index}", "has a single frame")


def _sentences(dataset: Dataset) -> Iterator[Finding]:
    for key, sentences in (("task_index", dataset.tasks), (layout.SUBTASK_INDEX, dataset.subtasks)):
        if key in dataset.features:
            values = dataset.column(key)
            if values.min() < 0 or values.max() >= len(sentences):
                yield Finding("error", key, f"names sentence {int(values.max())} of {len(sentences)}")
    if not all(text.strip() for text in dataset.tasks):
        yield Finding("warning", layout.TASKS, "holds an empty instruction")


def _language(dataset: Dataset) -> Iterator[Finding]:
    """Language columns say the same on every frame of an episode, at times that frames have."""
    times = dataset.column("timestamp")
    for row in dataset.episodes:
        where, rows = f"episode {row.index}, {language.PERSISTENT}", dataset.language(row.index)
        for fault in language.faults(rows, times[row.start : row.stop]):
            yield Finding("error", where, fault)
        if any(dataset.language(row.index, t) != rows for t in range(1, row.length)):
            yield Finding("error", where, "differs between frames")


def _films(dataset: Dataset, row: EpisodeRow) -> Iterator[Finding]:
    for key in dataset.cameras:
        try:
            for first in {0, row.length - 1}:
                picture = dataset.pictures(key, row.index, first, 1)[0]
                if picture.shape != dataset.features[key].shape:
                    yield Finding(
                        "error", key, f"pictures of {picture.shape}, info.json: {dataset.features[key].shape}"
                    )
                elif picture.std() < _BLANK_STD:
                    yield Finding("warning", key, f"episode {row.index}, frame {first} is blank")
        except CheckpointError as error:
            yield Finding("error", f"episode {row.index}", str(error))


def repair(folder: Path) -> int:
    """Removes what a killed writer left half-done and packs its finished episodes; returns how many these were."""
    from embodied.data.writer import DatasetWriter

    waiting = len(packing.staged_episodes(Path(folder)))
    DatasetWriter(folder).close()
    return waiting
