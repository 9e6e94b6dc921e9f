"""Reads datasets in the LeRobotDataset v3 layout, ours and LeRobot's own, as numpy arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embodied.core.errors import CheckpointError, UnknownNameError
from embodied.core.files import read_json
from embodied.data import language, layout, packing
from embodied.data.layout import Feature
from embodied.data.video import frames


@dataclass(frozen=True)
class EpisodeRow:
    """One episode of a dataset.

    Attributes:
        index: its number.
        tasks: the instructions given in it.
        start: index of its first frame in the dataset.
        stop: index after its last frame.
        films: by feature, the film's path and the episode's first frame in it.
    """

    index: int
    tasks: tuple[str, ...]
    start: int
    stop: int
    films: Mapping[str, tuple[Path, int]]

    @property
    def length(self) -> int:
        """Number of frames."""
        return self.stop - self.start


class Dataset:
    """A dataset on disk, N frames in all.

    Args:
        folder: of the dataset.

    Raises:
        CheckpointError: no dataset, of another version, or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        try:
            self.info: dict[str, Any] = read_json(self.folder / layout.INFO)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder} is no dataset: {layout.INFO} cannot be read ({error})") from None
        version = str(self.info.get("codebase_version"))
        if not version.startswith("v3."):
            raise CheckpointError(f"{folder} is of LeRobot's dataset version {version}; this reads v3.x: convert it")
        self.fps = int(self.info["fps"])
        self.features = {k: Feature.from_json(v) for k, v in self.info["features"].items() if v["dtype"] != "language"}
        if language.PERSISTENT in self.info["features"]:
            self.features.setdefault(layout.SUBTASK_INDEX, Feature("int64", (1,)))
        self.in_tables = {k for k, v in self.info["features"].items() if v["dtype"] == "image"}
        self._columns: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self.info["total_frames"])

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the picture features."""
        return tuple(k for k, f in self.features.items() if f.is_video)

    @cached_property
    def episodes(self) -> tuple[EpisodeRow, ...]:
        """The episodes in order."""
        found = []
        for row in packing.episode_rows(self.folder, int(self.info["total_episodes"])):
            films = {}
            for key in (k for k in self.cameras if k not in self.in_tables):
                place = layout.position(row[f"videos/{key}/chunk_index"], row[f"videos/{key}/file_index"])
                path = self.folder / layout.at(self.info["video_path"], place, video_key=key)
                films[key] = (path, round(row[f"videos/{key}/from_timestamp"] * self.fps))
            span = row["dataset_from_index"], row["dataset_to_index"]
            found.append(EpisodeRow(row["episode_index"], tuple(row["tasks"]), *span, films))
        return tuple(found)

    @cached_property
    def tasks(self) -> list[str]:
        """Instructions by `task_index`."""
        return packing.read_sentences(self.folder / layout.TASKS, "task_index")

    @cached_property
    def subtasks(self) -> list[str]:
        """What the robot says it does, by `subtask_index`; empty where the dataset does not tell."""
        if self._in_language:
            return list(dict.fromkeys(self._said))
        return packing.read_sentences(self.folder / layout.SUBTASKS, layout.SUBTASK_INDEX)

    @property
    def _in_language(self) -> bool:
        known = self.info["features"]
        return language.PERSISTENT in known and layout.SUBTASK_INDEX not in known

    @cached_property
    def _said(self) -> list[str]:
        """What is said at each frame, by the language columns."""
        times = self.column("timestamp")
        spans = [slice(row.start, row.stop) for row in self.episodes]
        return [s for i, span in enumerate(spans) for s in language.said_at(self.language(i), times[span])]

    def language(self, episode: int, frame: int = 0) -> list[dict[str, Any]]:
        """The persistent rows that a frame of an episode carries in LeRobot's language columns; none without these."""
        if language.PERSISTENT not in self.info["features"]:
            return []
        if f"#{language.PERSISTENT}" not in self._columns:
            self._columns[f"#{language.PERSISTENT}"] = self._table(language.PERSISTENT)  # type: ignore[assignment]
        rows: Any = self._columns[f"#{language.PERSISTENT}"]
        return rows[self.episodes[episode].start + frame].as_py() or []

    @cached_property
    def stats(self) -> dict[str, dict[str, np.ndarray]]:
        """Statistics by feature: `min`, `max`, `mean`, `std`, quantiles, `count`."""
        try:
            found = read_json(self.folder / layout.STATS)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.folder / layout.STATS} cannot be read: {error}") from None
        return {key: {n: np.array(v) for n, v in s.items()} for key, s in found.items()}

    def column(self, key: str) -> np.ndarray:
        """All values of a feature that is not a picture, `(N, *shape)`; scalars are `(N,)`."""
        if key not in self._columns:
            feature = self._feature(key)
            if key == layout.SUBTASK_INDEX and self._in_language:
                number = {sentence: i for i, sentence in enumerate(self.subtasks)}
                self._columns[key] = np.array([number[sentence] for sentence in self._said], np.int64)
                return self._columns[key]
            if feature.is_video:
                raise UnknownNameError("table column", key, [k for k, f in self.features.items() if not f.is_video])
            values = self._table(key)
            if feature.dtype == "string":
                self._columns[key] = np.array(values.to_pylist(), dtype=object)
            else:
                flat = packing.flat(values).astype(feature.dtype, copy=False)
                self._columns[key] = flat.reshape(len(self), *(feature.shape if feature.shape != (1,) else ()))
        return self._columns[key]

    def _table(self, key: str) -> pa.Array:
        paths = sorted({self.folder / layout.at(self.info["data_path"], i) for i in self._data_files()})
        try:
            parts = [pq.read_table(path, columns=[key]).column(key) for path in paths]
            found = pa.chunked_array([chunk for part in parts for chunk in part.chunks])
        except (pa.ArrowInvalid, OSError, KeyError) as error:
            raise CheckpointError(f"column '{key}' of {self.folder} cannot be read: {error}") from None
        if len(found) != len(self):
            raise CheckpointError(f"column '{key}' of {self.folder} has {len(found)} rows, info.json says {len(self)}")
        return found.combine_chunks()

    def _data_files(self) -> list[int]:
        rows = packing.episode_rows(self.folder, int(self.info["total_episodes"]))
        return sorted({layout.position(r["data/chunk_index"], r["data/file_index"]) for r in rows})

    def _feature(self, key: str) -> Feature:
        if key not in self.features:
            raise UnknownNameError("feature", key, self.features, f"dataset {self.folder}")
        return self.features[key]

    def pictures(self, key: str, episode: int, first: int = 0, count: int | None = None) -> np.ndarray:
        """Pictures `(count, H, W, 3)` uint8 of one episode, from its frame `first` on."""
        row = self.episodes[episode]
        count = row.length - first if count is None else count
        self._feature(key)
        if key in self.in_tables:
            return self._pictures_in_tables(key, row.start + first, count)
        path, offset = row.films[key]
        return np.stack(list(frames(path, offset + first, count, self.fps)))

    def _pictures_in_tables(self, key: str, start: int, count: int) -> np.ndarray:
        from PIL import Image

        if f"#{key}" not in self._columns:
            self._columns[f"#{key}"] = self._table(key)  # type: ignore[assignment]
        rows: Any = self._columns[f"#{key}"][start : start + count]
        return np.stack([np.asarray(Image.open(io.BytesIO(r["bytes"])).convert("RGB")) for r in rows.to_pylist()])

    def world(self, episode: int) -> dict[str, np.ndarray]:
        """Quantities of the world of one episode, `(T + 1, ...)` each; empty where none were recorded."""
        path = self.folder / layout.WORLD_FILE.format(index=episode)
        if not path.exists():
            return {}
        try:
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from None

    def task_of(self, episode: int) -> str:
        """The first instruction of an episode."""
        return self.episodes[episode].tasks[0]
