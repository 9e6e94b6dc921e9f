"""Where things lie in a dataset: the LeRobotDataset v3 layout, so that LeRobot's loader reads what we write.

    meta/info.json                                   versions, counts, features; written last: the commit
    meta/stats.json                                  statistics by feature
    meta/tasks.parquet, meta/subtasks.parquet        sentences by index
    meta/episodes/chunk-000/file-000.parquet         one row per episode: where it lies, its statistics
    data/chunk-000/file-000.parquet                  one row per frame, many episodes per file
    videos/<feature>/chunk-000/file-000.mp4          many episodes per film
    world/episode-000000.npz                         quantities of the world over time (ours alone)
    staging/episode-000000/                          finished episodes that no file above holds yet (ours alone)

Legend of shapes: N frames, T steps of a window, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embodied.core.errors import ConfigError

CODEBASE_VERSION = "v3.0"
CHUNKS_SIZE = 1000  # files per chunk folder
DATA_FILE_MB, VIDEO_FILE_MB = 100, 200
INFO, STATS = "meta/info.json", "meta/stats.json"
TASKS, SUBTASKS = "meta/tasks.parquet", "meta/subtasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
STAGING = "staging"
ACTION = "action"
WORLD_FILE = "world/episode-{index:06d}.npz"
SUBTASK_INDEX = "subtask_index"
_NUMERIC = ("float32", "float64", "int64", "int32", "bool", "uint8")
_DTYPES = (*_NUMERIC, "string", "video")


@dataclass(frozen=True)
class Feature:
    """One column of a dataset.

    Attributes:
        dtype: `float32`, `float64`, `int64`, `int32`, `uint8`, `bool`, `string` or `video`.
        shape: of one frame's value; `(1,)` for a scalar, `(H, W, 3)` for a video.
        names: of the components, or None.
    """

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise ConfigError(f"feature of dtype {self.dtype!r}; known are {', '.join(_DTYPES)}")
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape) or (1,))
        if self.is_video and (len(self.shape) != 3 or self.shape[2] != 3 or min(self.shape) < 1):
            raise ConfigError(f"a video's shape is (height, width, 3), got {self.shape}")

    @property
    def is_video(self) -> bool:
        """Whether the frames lie in films."""
        return self.dtype == "video"

    def to_json(self, fps: int) -> dict[str, Any]:
        """The feature's entry in `info.json`."""
        if not self.is_video:
            return {"dtype": self.dtype, "shape": list(self.shape), "names": list(self.names) if self.names else None}
        height, width, channels = self.shape
        info = {"height": height, "width": width, "channels": channels, "codec": "h264", "pix_fmt": "yuv420p"}
        info |= {"is_depth_map": False, "fps": fps}
        return {
            "dtype": "video",
            "shape": list(self.shape),
            "names": ["height", "width", "channels"],
            "info": {**{f"video.{k}": v for k, v in info.items()}, "has_audio": False},
        }

    @staticmethod
    def from_json(entry: Mapping[str, Any]) -> Feature:
        """Reads an entry of `info.json`, LeRobot's too: pictures inside the tables count as video here."""
        names = entry.get("names")
        flat = tuple(str(n) for n in names) if isinstance(names, list) else None
        shape = tuple(entry["shape"])
        if entry["dtype"] in ("image", "video") and len(shape) == 3 and shape[2] != 3 and shape[0] == 3:
            shape = (shape[1], shape[2], 3)
        return Feature("video" if entry["dtype"] == "image" else entry["dtype"], shape, flat)


BOOKKEEPING: Mapping[str, Feature] = {
    "timestamp": Feature("float32", (1,)),
    "frame_index": Feature("int64", (1,)),
    "episode_index": Feature("int64", (1,)),
    "index": Feature("int64", (1,)),
    "task_index": Feature("int64", (1,)),
}


def at(pattern: str, index: int, **names: str) -> str:
    """Path of the `index`-th file of a kind."""
    chunk, file = divmod(index, CHUNKS_SIZE)
    return pattern.format(chunk_index=chunk, file_index=file, **names)


def position(chunk_index: int, file_index: int) -> int:
    """Inverse of `at`: the running number of a file."""
    return chunk_index * CHUNKS_SIZE + file_index
