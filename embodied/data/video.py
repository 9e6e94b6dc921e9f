"""Films of datasets: H.264 without B-frames, a key frame every other frame, so that any frame is found quickly."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from embodied.core.errors import CheckpointError, ConfigError

_KEY_FRAME_EVERY, _QUALITY = 2, 18


class VideoWriter:
    """Encodes one film frame by frame.

    Args:
        path: the mp4 file.
        fps: frames per second.
        height: picture height [pixels], even.
        width: picture width [pixels], even.
    """

    def __init__(self, path: Path, fps: int, height: int, width: int) -> None:
        import av

        if height % 2 or width % 2:
            raise ConfigError(f"films in yuv420p have even sizes; got {width} x {height}")
        self.path, self.shape, self.count = Path(path), (height, width, 3), 0
        self._file = av.open(str(path), "w", format="mp4")
        stream: Any = self._file.add_stream("libx264", rate=fps)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, fps)
        stream.codec_context.thread_count = 1
        stream.options = {
            "crf": str(_QUALITY),
            "preset": "veryfast",
            "bf": "0",
            "g": str(_KEY_FRAME_EVERY),
            "sc_threshold": "0",
        }
        self._stream, self._frame = stream, av.VideoFrame

    def add(self, picture: np.ndarray) -> None:
        """Appends a picture `(H, W, 3)` uint8."""
        if picture.shape != self.shape or picture.dtype != np.uint8:
            raise ConfigError(f"picture of {picture.shape} {picture.dtype}; this film takes {self.shape} uint8")
        frame = self._frame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, self.count = self.count, self.count + 1
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Ends the film; it is on disk afterwards."""
        if self._file is None:
            return
        self._file.mux(self._stream.encode(None))
        self._file.close()
        self._file = None
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def join(films: Sequence[Path], path: Path, fps: int) -> list[int]:
    """Puts films one after the other into one, without encoding again; returns how many frames each has.

    Raises:
        CheckpointError: a film is damaged.
    """
    import av

    counts: list[int] = []
    temporary = path.with_name(f".{path.name}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(temporary), "w", format="mp4") as out:
        stream: Any = None
        total = 0
        for film in films:
            try:
                with av.open(str(film)) as source:
                    if stream is None:
                        stream = out.add_stream_from_template(source.streams.video[0])
                        stream.time_base = Fraction(1, fps)
                    count = 0
                    for packet in source.demux(video=0):
                        if packet.dts is None:
                            continue
                        packet.stream, packet.time_base = stream, Fraction(1, fps)
                        packet.pts = packet.dts = total + count
                        packet.duration = 1
                        out.mux(packet)
                        count += 1
            except av.error.FFmpegError as error:
                raise CheckpointError(f"film {film} is damaged: {error}") from None
            counts.append(count)
            total += count
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return counts


def frames(path: Path, first: int, count: int, fps: float) -> Iterator[np.ndarray]:
    """Yields `count` pictures `(H, W, 3)` uint8 of a film from frame `first` on.

    Raises:
        CheckpointError: the film is damaged or too short.
    """
    import av

    given = 0
    try:
        with av.open(str(path)) as source:
            stream = source.streams.video[0]
            stream.thread_type = "NONE"
            base = stream.time_base
            start = stream.start_time or 0
            if first:
                source.seek(int(start + Fraction(first) / Fraction(fps).limit_denominator(1000) / base), stream=stream)
            for frame in source.decode(stream):
                if round(float((frame.pts - start) * base) * fps) < first:
                    continue
                yield frame.to_ndarray(format="rgb24")
                given += 1
                if given == count:
                    return
    except (av.error.FFmpegError, OSError) as error:
        raise CheckpointError(f"film {path} cannot be read: {error}") from None
    raise CheckpointError(f"film {path} ends after {given} of {count} frames from frame {first} on")
