"""Files of a run folder for a page, by ids that say nothing: a browser can never name a path."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

TYPES = {".mp4": "video/mp4", ".json": "application/json", ".npz": "application/octet-stream", ".html": "text/plain"}


class Media:
    """Ids of files.

    Args:
        root: the only folder whose files are given out.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()
        self._paths: dict[str, Path] = {}
        self._ids: dict[Path, str] = {}

    def id_of(self, path: Path) -> str:
        """The id of a file, the same at every call."""
        path = Path(os.path.abspath(self.root / path))
        if path not in self._ids:
            key = secrets.token_urlsafe(12)
            self._ids[path], self._paths[key] = key, path
        return self._ids[path]

    def open(self, key: str) -> tuple[Path, str] | None:
        """Path and content type of an id; None for an unknown id, a link, or what is no file inside the root."""
        path = self._paths.get(key)
        if path is None:
            return None
        try:
            plain = stat.S_ISREG(os.lstat(path).st_mode)
            inside = path.resolve(strict=True).is_relative_to(self.root)
        except OSError:
            return None
        return (path, TYPES.get(path.suffix, "application/octet-stream")) if plain and inside else None
