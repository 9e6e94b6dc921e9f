"""A saved policy's folder: a weights file beside a JSON manifest that holds its format and its hash."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from embodied.core.errors import CheckpointError
from embodied.core.files import read_json


def read_saved(folder: Path, weights: str, format: str) -> tuple[dict[str, Any], bytes]:
    """The manifest and the bytes of the weights.

    Args:
        folder: of the policy.
        weights: name of the weights file.
        format: that the manifest must name.

    Raises:
        CheckpointError: missing, altered, truncated or of another format.
    """
    try:
        manifest = read_json(folder / "manifest.json")
        data = (folder / weights).read_bytes()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"no policy in {folder}: {error}") from None
    found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
    if found != format:
        raise CheckpointError(f"{folder} is of format {found!r}; this version reads {format}")
    if hashlib.sha256(data).hexdigest() != manifest.get("sha256"):
        raise CheckpointError(f"{folder / weights} was altered or truncated (sha256 differs)")
    return manifest, data
