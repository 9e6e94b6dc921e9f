"""Scalars for TensorBoard, without importing torch in the watching process and without a thread of its own."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Scalars:
    """Writes the numbers of progress rows to `tb/<job>`; a resumed run goes on in a new event file.

    TensorBoard's own writer has a thread, whose error on a full disk nobody could catch; records are written here.

    Args:
        folder: the run's `tb` folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Any] = {}

    def add(self, job: str, row: Mapping[str, Any]) -> None:
        """Adds one `progress` or `evaluation` row."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        numbers = {f"term/{k}": v for k, v in row.get("terms", {}).items()}
        prefix = "measured/" if row["kind"] == "evaluation" else "training/"
        numbers |= {prefix + k: v for k, v in row.items() if isinstance(v, int | float) and k not in ("step", "seed")}
        values = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in numbers.items()]
        self._write(job, step=int(row["step"]), summary=Summary(value=values))

    def close(self) -> None:
        """Closes the event files."""
        for writer in self._files.values():
            writer.close()
        self._files.clear()

    def _write(self, job: str, **event: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        if job not in self._files:
            name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
            (self._folder / job).mkdir(parents=True, exist_ok=True)
            file = open(self._folder / job / name, "wb")  # noqa: SIM115 - `close` closes it
            self._files[job] = RecordWriter(file)
            self._write(job, file_version="brain.Event:2")
        self._files[job].write(Event(wall_time=time.time(), **event).SerializeToString())
        self._files[job].flush()
