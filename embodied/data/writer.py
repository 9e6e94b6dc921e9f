"""Writes datasets. A finished episode survives anything; a killed process loses at most the open one.

Each finished episode is first a folder of its own in `staging/`, which appears by one rename. `close` (and the next
`DatasetWriter` on the same folder) packs what is staged into new shards; existing shards are never touched, and
`info.json`, written last, is what makes the new ones count.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from embodied.core.errors import CheckpointError, ConfigError, UnknownNameError
from embodied.core.files import read_json, sync_folder, write_json
from embodied.data import layout, packing, statistics
from embodied.data.layout import BOOKKEEPING, Feature
from embodied.data.video import VideoWriter

_PACK_EVERY_MB = 150.0


class DatasetWriter:
    """Records episodes into one dataset, frame by frame.

    Args:
        folder: the dataset; created where it does not exist, continued where it does.
        features: what each frame gives, without the bookkeeping; None takes those of the existing dataset.
        fps: frames per second; None takes that of the existing dataset.
        robot_type: of the robot that acts, for `info.json`.

    Raises:
        ConfigError: the existing dataset has other features or another rate; names them.
        CheckpointError: the folder holds something else.
    """

    def __init__(
        self,
        folder: Path,
        *,
        features: Mapping[str, Feature] | None = None,
        fps: int | None = None,
        robot_type: str | None = None,
    ) -> None:
        self.folder = Path(folder)
        if (self.folder / layout.INFO).exists():
            info = read_json(self.folder / layout.INFO)
            self.fps = int(info["fps"])
            known = {k: Feature.from_json(v) for k, v in info["features"].items() if k not in BOOKKEEPING}
            self.features = {k: v for k, v in known.items() if k != layout.SUBTASK_INDEX}
            self._must_agree(features, fps)
        else:
            self._create(features, fps, robot_type)
        self._columns: dict[str, list[Any]] = {}
        self._films: dict[str, VideoWriter] = {}
        self._pictures: dict[str, list[np.ndarray]] = {}
        self._open: Path | None = None
        packing.recover(self.folder)
        packing.pack(self.folder, self.features, self.fps)
        self.n_episodes = int(read_json(self.folder / layout.INFO)["total_episodes"])
        self._staged_mb = 0.0

    def _create(self, features: Mapping[str, Feature] | None, fps: int | None, robot_type: str | None) -> None:
        if features is None or fps is None:
            raise ConfigError(f"{self.folder} is no dataset yet: a new one needs features and fps")
        if self.folder.exists() and any(self.folder.iterdir()):
            raise CheckpointError(f"{self.folder} is not empty and holds no {layout.INFO}: name another folder")
        clash = sorted(set(features) & {*BOOKKEEPING, layout.SUBTASK_INDEX})
        if clash or layout.ACTION not in features:
            raise ConfigError(
                f"features must hold 'action' and leave {', '.join(clash) or 'bookkeeping'} to the writer"
            )
        if fps < 1 or int(fps) != fps:
            raise ConfigError(f"fps={fps} must be a whole number of frames per second")
        self.fps, self.features = int(fps), dict(features)
        write_json(self.folder / layout.INFO, packing.empty_info(self.features, self.fps, robot_type))

    def _must_agree(self, features: Mapping[str, Feature] | None, fps: int | None) -> None:
        if fps is not None and fps != self.fps:
            raise ConfigError(f"{self.folder} was recorded at fps={self.fps}, not {fps}")
        for key in sorted(set(features or self.features) | set(self.features)):
            given, known = (features or self.features).get(key), self.features.get(key)
            if given is None or known is None or (given.dtype, given.shape) != (known.dtype, known.shape):
                raise ConfigError(f"{self.folder}: feature '{key}' is {known} there and {given} here")

    def add(self, frame: Mapping[str, Any], task: str, subtask: str = "") -> None:
        """Appends a frame to the open episode, opening one where none is.

        Args:
            frame: a value for every feature, of its shape; pictures `(H, W, 3)` uint8.
            task: the instruction that holds now.
            subtask: what the robot is doing now, in words.

        Raises:
            ConfigError: a feature is missing, unknown, of another shape, or not finite. The episode is unchanged.
        """
        row = {key: self._checked(key, frame) for key in self.features}
        for key in frame:
            if key not in self.features:
                raise UnknownNameError("feature", key, self.features, f"dataset {self.folder}")
        if self._open is None:
            self._begin()
        for key, value in row.items():
            if self.features[key].is_video:
                self._films[key].add(value)
                self._pictures[key].append(value)
            else:
                self._columns[key].append(value)
        self._columns["task"].append(task)
        self._columns["subtask"].append(subtask)

    def _checked(self, key: str, frame: Mapping[str, Any]) -> Any:
        feature = self.features[key]
        if key not in frame:
            raise ConfigError(f"the frame lacks feature '{key}' {feature.shape} of dataset {self.folder}")
        if feature.dtype == "string":
            return str(frame[key])
        value = np.asarray(frame[key])
        if feature.is_video and value.dtype != np.uint8:
            raise ConfigError(f"feature '{key}' takes uint8 pictures, got {value.dtype}")
        value = value.astype("uint8" if feature.is_video else feature.dtype)
        if value.shape != feature.shape and not (feature.shape == (1,) and value.shape == ()):
            raise ConfigError(f"feature '{key}' has shape {feature.shape}, the frame's is {value.shape}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ConfigError(f"feature '{key}' is not finite: {value.ravel()[:8]}")
        return value.reshape(feature.shape)

    def _begin(self) -> None:
        self._open = self.folder / layout.STAGING / f".{_name(self.n_episodes)}.tmp"
        shutil.rmtree(self._open, ignore_errors=True)
        self._open.mkdir(parents=True)
        self._columns = {k: [] for k, f in self.features.items() if not f.is_video} | {"task": [], "subtask": []}
        videos = {k: f for k, f in self.features.items() if f.is_video}
        self._films = {k: VideoWriter(self._open / f"{k}.mp4", self.fps, *f.shape[:2]) for k, f in videos.items()}
        self._pictures = {k: [] for k in videos}

    def save_episode(self, world: Mapping[str, np.ndarray] | None = None) -> int:
        """Ends the open episode and makes it durable; returns its index.

        Args:
            world: the quantities of the world by name, `(T + 1, ...)` before each action and after the last; from
                them any reward can be evaluated later. Tasks of one dataset may have different ones.

        Raises:
            ConfigError: no frame was added.
        """
        if self._open is None:
            raise ConfigError("no episode is open: call add(...) first")
        for film in self._films.values():
            film.close()
        index = self.n_episodes
        stats = {
            key: statistics.of_pictures(self._pictures[key])
            if feature.is_video
            else statistics.of_values(np.stack(self._columns[key]))
            for key, feature in self.features.items()
            if feature.dtype != "string"
        }
        packing.write_table(self._open / "data.parquet", packing.staged_table(self._columns, self.features))
        plain = {key: {name: value.tolist() for name, value in s.items()} for key, s in stats.items()}
        write_json(self._open / "episode.json", {"length": len(self._columns["task"]), "stats": plain})
        if world is not None:
            packing.write_world(self._open / "world.npz", world)
        sync_folder(self._open)
        os.rename(self._open, final := self._open.with_name(_name(index)))
        sync_folder(final.parent)
        self._staged_mb += sum(p.stat().st_size for p in final.iterdir()) / 1e6
        self._open, self.n_episodes = None, index + 1
        if self._staged_mb > _PACK_EVERY_MB:
            self.pack()
        return index

    def discard_episode(self) -> None:
        """Throws the open episode away."""
        for film in self._films.values():
            film.close()
        if self._open is not None:
            shutil.rmtree(self._open, ignore_errors=True)
        self._open = None

    def pack(self) -> None:
        """Moves what is staged into shards."""
        packing.pack(self.folder, self.features, self.fps)
        self._staged_mb = 0.0

    def close(self) -> None:
        """Throws an open episode away and packs the others."""
        self.discard_episode()
        self.pack()

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _name(index: int) -> str:
    return f"episode-{index:06d}"
