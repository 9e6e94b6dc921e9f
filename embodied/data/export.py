"""A dataset for LeRobot > 0.4.4: the same frames and films, what is said in its language columns."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from embodied.core.errors import ConfigError
from embodied.core.files import sync_folder, write_json
from embodied.data import language, layout, packing
from embodied.data.dataset import Dataset


def export(dataset: Dataset, folder: Path) -> Path:
    """Writes a copy in which `language_persistent` and `language_events` take the place of `subtask_index`.

    LeRobot 0.4.x cannot read such columns: it reads the dataset as it was recorded.

    Args:
        dataset: to copy, with what is said at each frame.
        folder: of the copy; must not exist. It appears whole or not at all.

    Raises:
        ConfigError: the folder exists, or nothing is said in the dataset.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists: name a new folder")
    if not dataset.subtasks:
        raise ConfigError(f"{dataset.folder} says nothing (no {layout.SUBTASKS}): there is no language to export")
    said = np.array(dataset.subtasks, dtype=object)[dataset.column(layout.SUBTASK_INDEX)]
    times = dataset.column("timestamp")
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    ignored = shutil.ignore_patterns(layout.STAGING, Path(layout.SUBTASKS).name, ".*")
    shutil.copytree(dataset.folder, temporary, ignore=ignored)
    for path in sorted(temporary.glob("data/*/*.parquet")):
        table = pq.read_table(path)
        spans = _episodes(table["index"].to_numpy(), table["episode_index"].to_numpy())
        persistent, events = language.columns((list(said[span]), times[span]) for span in spans)
        kept = [name for name in table.column_names if name not in (layout.SUBTASK_INDEX, *language.FEATURES)]
        table = table.select(kept).append_column(language.PERSISTENT, persistent)
        packing.write_table(path, table.append_column(language.EVENTS, events))
    features = {k: v for k, v in dataset.info["features"].items() if k != layout.SUBTASK_INDEX} | language.FEATURES
    write_json(temporary / layout.INFO, {**dataset.info, "features": features})
    os.rename(temporary, folder)
    sync_folder(folder.parent)
    return folder


def _episodes(index: np.ndarray, episode: np.ndarray) -> list[slice]:
    """The rows of a table by episode, as slices of the whole dataset's frames."""
    starts = np.flatnonzero(np.diff(episode, prepend=-1))
    return [slice(int(index[a]), int(index[a]) + b - a) for a, b in zip(starts, [*starts[1:], len(index)], strict=True)]
