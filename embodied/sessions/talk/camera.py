"""A camera on the robot of a talk: newest state in, JPEG out, at its own pace in its own thread."""

from __future__ import annotations

import io
import threading
import time

import numpy as np

from embodied.core.errors import RenderingError
from embodied.sessions.talk.stage import Stage


class LiveCamera:
    """Draws a stage in real time.

    Args:
        stage: the robot.
        fps: pictures per second.
        camera: name of a camera; None takes the best for watching.
        width: [pixels].
        height: [pixels].
    """

    def __init__(
        self, stage: Stage, *, fps: float = 10.0, camera: str | None = None, width: int = 400, height: int = 300
    ) -> None:
        self.stage, self.fps, self._wish = stage, fps, (camera, width, height)
        self._stop, self._changed = threading.Event(), threading.Condition()
        self._number, self._picture = 0, b""
        self.error = ""
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)

    def start(self) -> LiveCamera:
        """Begins to draw."""
        self._thread.start()
        return self

    def newest(self) -> tuple[int, bytes]:
        """Number and JPEG bytes of the newest picture; 0 and nothing before the first."""
        with self._changed:
            return self._number, self._picture

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10.0)

    def _run(self) -> None:
        from embodied.sim.render import Renderer

        camera, width, height = self._wish
        try:
            with Renderer(self.stage.task, camera, width, height) as renderer:
                due = time.monotonic()
                while not self._stop.is_set():
                    now = self.stage.now
                    picture = renderer.render(
                        now.states[0], {k: v[0] for k, v in now.parameters.items()}, control=now.control[0]
                    )
                    encoded = jpeg(picture)
                    with self._changed:
                        self._number, self._picture = self._number + 1, encoded
                        self._changed.notify_all()
                    due = max(due + 1.0 / self.fps, time.monotonic() - 1.0 / self.fps)
                    self._stop.wait(max(0.0, due - time.monotonic()))
        except RenderingError as error:
            self.error = str(error)


def jpeg(picture: np.ndarray, quality: int = 80) -> bytes:
    """A picture `(H, W, 3)` uint8 as JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()
