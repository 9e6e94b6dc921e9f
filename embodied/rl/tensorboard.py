"""Scalars for TensorBoard, without importing torch in the watching process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Scalars:
    """Writes the numbers of progress rows to `tb/<job>`; a resumed run goes on in a new event file.

    Args:
        folder: the run's `tb` folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def add(self, job: str, row: Mapping[str, Any]) -> None:
        """Adds one `progress` or `evaluation` row."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        numbers = {f"term/{k}": v for k, v in row.get("terms", {}).items()}
        prefix = "measured/" if row["kind"] == "evaluation" else "training/"
        numbers |= {prefix + k: v for k, v in row.items() if isinstance(v, int | float) and k not in ("step", "seed")}
        values = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in numbers.items()]
        event = Event(wall_time=time.time(), step=int(row["step"]), summary=Summary(value=values))
        self._writer(job).add_event(event)

    def close(self) -> None:
        """Writes everything out."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _writer(self, job: str) -> Any:
        if job not in self._writers:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter

            self._writers[job] = EventFileWriter(str(self._folder / job))
        return self._writers[job]
