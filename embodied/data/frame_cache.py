"""Decoded pictures of a dataset as one memory-mapped array, so that training never decodes a film twice.

The films are decoded once, in order, which is many times quicker per frame than seeking single frames. The cache is
bound to the films' names, sizes and times of change; one that no longer fits is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from embodied.core.errors import ConfigError
from embodied.data.dataset import Dataset


def default_folder() -> Path:
    """`$EMBODIED_CACHE`, else `$XDG_CACHE_HOME/embodied`, else `~/.cache/embodied`."""
    if own := os.environ.get("EMBODIED_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "embodied"


def decoded(
    dataset: Dataset,
    key: str,
    size: tuple[int, int] | None = None,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """All pictures of one camera.

    Args:
        dataset: the dataset.
        key: the picture feature.
        size: (height, width) [pixels] to which pictures are shrunk by averaging areas; None keeps theirs.
        folder: of the cache; None takes `default_folder()`.
        progress: called with frames done and frames in all.

    Returns:
        `(N, H, W, 3)` uint8, read-only, memory-mapped.

    Raises:
        ConfigError: not a whole factor smaller.
        CheckpointError: a film is damaged.
    """
    shape = dataset.features[key].shape
    height, width = size or shape[:2]
    if shape[0] % height or shape[1] % width:
        raise ConfigError(f"pictures of {shape[1]} x {shape[0]} shrink by whole factors, not to {width} x {height}")
    factor = shape[0] // height, shape[1] // width
    path = (folder or default_folder()) / "frames" / f"{_fingerprint(dataset, key, (height, width))}.u8"
    full = (len(dataset), height, width, 3)
    if not path.exists() or path.stat().st_size != int(np.prod(full)):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                for row in dataset.episodes:
                    pictures = dataset.pictures(key, row.index)
                    file.write(_shrunk(pictures, factor).tobytes())
                    if progress is not None:
                        progress(row.stop, len(dataset))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return np.memmap(path, dtype=np.uint8, mode="r", shape=full)


def shrunk(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """One picture `(H, W, 3)` or several `(..., H, W, 3)` as `decoded` stores them."""
    height, width = picture.shape[-3:-1]
    return _shrunk(picture, (height // size[0], width // size[1]))


def _shrunk(pictures: np.ndarray, factor: tuple[int, int]) -> np.ndarray:
    if factor == (1, 1):
        return pictures
    *lead, height, width, channels = pictures.shape
    blocks = pictures.reshape(*lead, height // factor[0], factor[0], width // factor[1], factor[1], channels)
    return np.rint(blocks.mean(axis=(-4, -2), dtype=np.float32)).astype(np.uint8)


def _fingerprint(dataset: Dataset, key: str, size: tuple[int, int]) -> str:
    files = {path for row in dataset.episodes for path, _ in ([row.films[key]] if key in row.films else [])}
    if key in dataset.in_tables:
        files = set((dataset.folder / "data").glob("*/*.parquet"))
    facts = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(files)]
    return hashlib.sha256(json.dumps([key, size, len(dataset), facts]).encode()).hexdigest()[:32]
