"""OpenCV's own capture against a stream of JPEGs on loopback: the newest picture, in time, or an error."""

import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from embodied.core.camera import Camera
from embodied.core.errors import CameraError, ConfigError
from robots.camera import OpenCvCamera

pytest.importorskip("cv2", reason="needs the extra `cameras`")


class Stream:
    """A network camera that counts: picture n has red n and blue 200."""

    def __init__(self, height=48, width=64, period_s=0.02):
        self.size, self.period_s, self.sent, self.silent, self.over = (height, width), period_s, 0, False, False
        stream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                while not stream.over:
                    if not stream.silent:
                        try:
                            self.wfile.write(stream.part())
                        except OSError:
                            return
                    time.sleep(stream.period_s)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.source = f"http://127.0.0.1:{self.server.server_port}/front"

    def part(self):
        self.sent += 1
        picture = np.zeros((*self.size, 3), np.uint8)
        picture[..., 0], picture[..., 2] = self.sent % 250, 200
        data = io.BytesIO()
        Image.fromarray(picture).save(data, "JPEG", quality=95)
        return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (
            len(data.getvalue()),
            data.getvalue(),
        )

    def close(self):
        self.over = True
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def stream():
    found = Stream()
    yield found
    found.close()


@pytest.fixture
def camera(stream):
    found = OpenCvCamera(stream.source, 64, 48)
    yield found
    found.disconnect()


def wait_for_error(camera, most_s=5.0):
    until_s = time.monotonic() + most_s
    while time.monotonic() < until_s:
        try:
            camera.read()
        except CameraError as error:
            return str(error)
        time.sleep(0.01)
    raise AssertionError("no error")


def test_pictures_are_red_green_blue_and_the_newest(stream, camera):
    assert isinstance(camera, Camera)
    camera.connect()
    before = camera.read()
    assert before.picture.shape == (48, 64, 3)
    assert before.picture[..., 2].mean() == pytest.approx(200, abs=3)
    time.sleep(0.5)  # nobody reads: buffers would fill
    after = camera.read()
    assert after.stamp_s > before.stamp_s
    assert after.picture[..., 0].mean() > before.picture[..., 0].mean() + 10
    assert abs(after.picture[..., 0].mean() - stream.sent) <= 6


def test_a_camera_that_stands_still_is_an_error_and_not_an_old_picture(stream, camera):
    camera.connect()
    camera.read()
    stream.silent = True
    assert "newest picture is" in wait_for_error(camera)
    stream.silent = False
    time.sleep(0.3)
    camera.read()  # it shows the present again


def test_a_stream_that_ends_is_gone_until_it_is_connected_again(stream, camera):
    camera.connect()
    stream.over = True
    until_s = time.monotonic() + 10.0
    while "is gone" not in (told := wait_for_error(camera)):
        assert time.monotonic() < until_s, told
    stream.over = False
    camera.connect()
    assert camera.read().picture.shape == (48, 64, 3)


def test_another_size_is_told_with_the_size(stream):
    with pytest.raises(CameraError, match="gives 64 x 48 pixels, not 640 x 480"):
        OpenCvCamera(stream.source, 640, 480).connect()


@pytest.mark.parametrize("source", ["http://127.0.0.1:9/front", "/dev/video77", 77])
def test_nobody_there_is_told(source):
    with pytest.raises(CameraError, match="does not open"):
        OpenCvCamera(source, 64, 48).connect()


def test_unconnected_and_closed_it_says_so_and_closing_is_silent(camera):
    with pytest.raises(CameraError, match="not connected"):
        camera.read()
    camera.connect()
    camera.disconnect()
    camera.disconnect()
    with pytest.raises(CameraError, match="is closed"):
        camera.read()
    camera.connect()
    camera.read()


@pytest.mark.parametrize("wrong", [{"width": 0}, {"height": -1}, {"most_age_s": 0.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        OpenCvCamera(**{"source": 0, "width": 64, "height": 48, **wrong})
