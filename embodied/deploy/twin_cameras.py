"""The cameras that a twin would have: a scene that is posed as its joints are, as MJPEG on loopback.

Drawing and serving are a process of their own, so that neither disturbs the twin; a thread here tells it the joints. A
robot's camera driver opens the addresses like those of any network camera.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from embodied.core.errors import CameraError, EmbodiedError, RobotError
from embodied.deploy.scenes import Scene

START_S, QUALITY = 60.0, 95
PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"


class TwinCameras:
    """Cameras beside a twin that runs in real time. Use it as a context manager.

    Args:
        twin: asked for its joints (`state()`).
        scene: makes what is drawn, in the process that draws it (it must travel there).
        names: of the scene's cameras.
        fps: pictures a second.

    Attributes:
        sources: address by camera.

    Raises:
        CameraError: the scene cannot be drawn here; says why.
    """

    def __init__(
        self,
        twin: Any,
        scene: Callable[[], Scene],
        names: Sequence[str],
        *,
        fps: float = 30.0,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._end, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(scene, tuple(names), theirs), daemon=True)
        self._process.start()
        theirs.close()
        answer: Any = "they did not start in time"
        with contextlib.suppress(EOFError):
            if self._end.poll(START_S):
                answer = self._end.recv()
        if not isinstance(answer, int):
            self._process.kill()
            raise CameraError(f"the twin's cameras: {answer}")
        self.sources = {name: f"http://127.0.0.1:{answer}/{name}" for name in names}
        self._twin, self._period_s, self._seed = twin, 1.0 / fps, 0
        self._frozen, self._ended = False, threading.Event()
        self._thread = threading.Thread(target=self._tell_joints, daemon=True)
        self._thread.start()

    def begin(self, seed: int) -> None:
        """The scene is that of another episode: its goal is where the seed puts it."""
        self._seed = seed

    def freeze(self) -> None:
        """No new picture comes; the connections stay."""
        self._frozen = True

    def thaw(self) -> None:
        """Pictures come again."""
        self._frozen = False

    def close(self) -> None:
        """Ends all streams; may be called twice."""
        self._ended.set()
        self._thread.join()
        self._end.close()
        self._process.join(3.0)
        self._process.kill()

    def __enter__(self) -> TwinCameras:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _tell_joints(self) -> None:
        with contextlib.suppress(OSError, RobotError):  # the process, or the twin, has ended
            while not self._ended.wait(self._period_s):
                if not self._frozen:
                    state = self._twin.state()
                    self._end.send((self._seed, state["position_rad"], state["velocity_radps"]))


class _Pictures:
    """The newest JPEG of every camera, and who waits for the next."""

    def __init__(self) -> None:
        self._next = threading.Condition()
        self._newest: dict[str, bytes] = {}
        self._count = 0

    def put(self, pictures: Mapping[str, bytes]) -> None:
        with self._next:
            self._newest, self._count = dict(pictures), self._count + 1
            self._next.notify_all()

    def after(self, count: int, name: str) -> tuple[int, bytes]:
        with self._next:
            self._next.wait_for(lambda: self._count > count)
            return self._count, self._newest[name]


def _serve(scene: Callable[[], Scene], names: tuple[str, ...], owner: Connection) -> None:
    """The process's main function: draws whatever joints come, until the owner has gone."""
    try:
        drawn = scene()
    except EmbodiedError as error:
        owner.send(str(error))
        return
    pictures = _Pictures()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(pictures, names))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    owner.send(server.server_port)
    begun = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            seed, position, velocity = owner.recv()
            while owner.poll():  # only the newest is drawn
                seed, position, velocity = owner.recv()
            if seed != begun:
                drawn.begin(seed)
                begun = seed
            pictures.put({name: _jpeg(picture) for name, picture in drawn.draw(position, velocity).items()})


def _handler(pictures: _Pictures, names: Sequence[str]) -> type[BaseHTTPRequestHandler]:
    class Stream(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/")
            if name not in names:
                self.send_error(404, f"no camera {name[:40]!r}; there are {', '.join(names)}")
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            count = 0
            with contextlib.suppress(OSError):  # who looked has gone
                while True:
                    count, picture = pictures.after(count, name)
                    self.wfile.write(PART % (len(picture), picture))

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    return Stream


def _jpeg(picture: np.ndarray) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=QUALITY, subsampling=0)
    return data.getvalue()
