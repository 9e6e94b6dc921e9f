"""Cameras through OpenCV (extra `cameras`), which is imported when connecting: USB cameras, and streams by address.

`cv2.VideoCapture.read` blocks until a picture comes and hands out buffered ones in order: who reads seldom sees the
past. So a thread of its own reads all the time and keeps the newest, with the time at which it came.
"""

from __future__ import annotations

import threading
import time
from typing import Any, NoReturn

from embodied.core.camera import Frame
from embodied.core.clock import Clock, MonotonicClock
from embodied.core.errors import CameraError, ConfigError

FIRST_S, CLOSED_S = 5.0, 2.0  # until the first picture; for the reader to end


class OpenCvCamera:
    """One camera.

    Args:
        source: number of a device, its path (`/dev/video0`), or an address (`http://...`).
        width: of its pictures [pixels].
        height: of its pictures [pixels].
        fps: pictures a second that a device is asked for; None leaves it as it is.
        most_age_s: oldest picture that counts as the present [s].
        clock: what stamps pictures.
    """

    def __init__(
        self,
        source: str | int,
        width: int,
        height: int,
        *,
        fps: float | None = None,
        most_age_s: float = 0.2,
        clock: Clock | None = None,
    ) -> None:
        if width < 1 or height < 1 or not most_age_s > 0.0:
            raise ConfigError(f"camera {source}: {width} x {height} pixels, most_age_s={most_age_s} must be above 0")
        self.source, self.shape = source, (int(height), int(width), 3)
        self._fps, self._most_age_s, self._clock = fps, most_age_s, clock or MonotonicClock()
        self._capture: Any = None
        self._thread: threading.Thread | None = None
        self._news = threading.Condition()
        self._newest: tuple[float, Any] | None = None
        self._count, self._open = 0, False
        self._lost = "not connected: call connect() first"

    def connect(self) -> None:
        """Opens it and waits for the first picture.

        Raises:
            CameraError: it is not there, gives nothing, or pictures of another size.
        """
        self.disconnect()
        try:
            import cv2
        except ImportError as error:
            raise ConfigError(f"a camera needs OpenCV: pip install 'embodied-control[cameras]' ({error})") from None
        number = str(self.source).isdigit()
        self._capture = cv2.VideoCapture(int(self.source) if number else str(self.source))
        if not self._capture.isOpened():
            self._fail("does not open: is it plugged in, and used by nobody else?")
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, self.shape[1])
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self.shape[0])
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if self._fps is not None:
            self._capture.set(cv2.CAP_PROP_FPS, self._fps)
        self._newest, self._count, self._lost, self._open = None, 0, "", True
        self._thread = threading.Thread(target=self._read_on, args=(self._capture,), daemon=True)
        self._thread.start()
        with self._news:
            self._news.wait_for(lambda: self._newest is not None or self._lost, FIRST_S)
        first: Any = self._newest
        if first is None:
            self._fail(self._lost or f"gives no picture within {FIRST_S:g} s")
        if first[1].shape != self.shape:
            height, width = first[1].shape[:2]
            self._fail(f"gives {width} x {height} pixels, not {self.shape[1]} x {self.shape[0]}: ask for what it can")

    def read(self) -> Frame:
        """The newest picture.

        Raises:
            CameraError: it is gone, or its newest picture is older than `most_age_s`.
        """
        newest, lost = self._newest, self._lost
        if lost or newest is None:
            raise CameraError(f"camera {self.source} {lost}")
        age_s = self._clock.now_s() - newest[0]
        if age_s > self._most_age_s:
            most = self._most_age_s
            raise CameraError(f"camera {self.source}: its newest picture is {age_s:.2f} s old, over {most:g} s")
        return Frame(newest[0], newest[1][..., ::-1])

    def rate_hz(self, seconds: float = 1.0) -> float:
        """How many pictures a second come, measured."""
        before, began = self._count, time.monotonic()
        time.sleep(seconds)
        return (self._count - before) / (time.monotonic() - began)

    def disconnect(self) -> None:
        """Closes it; never raises, may be called twice."""
        self._open, self._lost = False, self._lost or "is closed: call connect() first"
        if self._thread is not None:
            self._thread.join(CLOSED_S)  # a stream that stands still lets go later: its reader closes it then
        self._thread = self._capture = None

    def _read_on(self, capture: Any) -> None:
        try:
            while self._open and capture is self._capture:
                good, picture = capture.read()
                with self._news:
                    if good:
                        self._newest, self._count = (self._clock.now_s(), picture), self._count + 1
                    else:
                        self._lost = self._lost or "is gone: no picture comes any more"
                    self._news.notify_all()
                if not good:
                    return
        finally:
            capture.release()

    def _fail(self, why: str) -> NoReturn:
        if self._thread is None and self._capture is not None:
            self._capture.release()
        self._lost = why
        self.disconnect()
        raise CameraError(f"camera {self.source} {why}")
