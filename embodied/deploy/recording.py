"""What a robot did becomes an episode of a dataset: joints as measured, what was really sent to them, what was seen."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from embodied.core.camera import Camera
from embodied.core.errors import ConfigError
from embodied.core.policy import IMAGES_PREFIX, STATE_KEY
from embodied.data.layout import ACTION, Feature
from embodied.data.writer import DatasetWriter
from embodied.deploy.acting import fitted
from embodied.deploy.loop import Cycle


class Filming:
    """Pictures of every so-many-th control period, cut and shrunk in a thread of its own. Use it as a context manager.

    Args:
        cameras: connected, by name.
        every: control periods from picture to picture.
        height: of the pictures that are kept [pixels].
        width: of the pictures that are kept [pixels].

    Attributes:
        pictures: `(H, W, 3)` uint8 by `observation.images.<camera>`, one mapping a kept period; complete when left.
    """

    def __init__(self, cameras: Mapping[str, Camera], every: int, height: int, width: int) -> None:
        self.every, self.shape = every, (height, width, 3)
        self.pictures: list[dict[str, np.ndarray]] = []
        self._cameras, self._noted = cameras, 0
        self._seen: queue.SimpleQueue[dict[str, np.ndarray] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._shrink, daemon=True)

    @property
    def features(self) -> dict[str, Feature]:
        """What it adds to a dataset."""
        return {f"{IMAGES_PREFIX}{name}": Feature("video", self.shape) for name in self._cameras}

    def note(self) -> None:
        """A control period has passed.

        Raises:
            CameraError: a camera is gone, or stands still.
        """
        if self._noted % self.every == 0:
            self._seen.put({name: camera.read().picture for name, camera in self._cameras.items()})
        self._noted += 1

    def __enter__(self) -> Filming:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._seen.put(None)
        self._thread.join()

    def _shrink(self) -> None:
        while (seen := self._seen.get()) is not None:
            kept = {f"{IMAGES_PREFIX}{name}": fitted(picture, *self.shape[:2]) for name, picture in seen.items()}
            self.pictures.append(kept)


def record_cycles(
    folder: Path,
    cycles: Sequence[Cycle],
    joints: Sequence[str],
    *,
    rate_hz: float,
    instruction: str,
    robot_type: str,
    film: Filming | None = None,
) -> int:
    """Appends the control periods of one motion as an episode; returns its index.

    With a film a frame is a picture and the reading of its period; its action is what was sent last before the next.

    Args:
        folder: of the dataset; created where it does not exist.
        cycles: of the motion, one per control period.
        joints: of the robot, in order.
        rate_hz: of the control loop, a whole number.
        instruction: what was done, as a person would say it.
        robot_type: of the robot.
        film: of the same periods, ended.

    Raises:
        ConfigError: nothing was recorded, or the rate is no whole number.
    """
    if not cycles:
        raise ConfigError("there is no control period to record")
    every = 1 if film is None else film.every
    fps = rate_hz / every
    if abs(fps - round(fps)) > 1e-6:
        raise ConfigError(f"rate_hz={rate_hz}: datasets have a whole number of frames per second")
    names = tuple(f"{joint}.pos" for joint in joints)
    features = {key: Feature("float32", (len(joints),), names) for key in (STATE_KEY, ACTION)}
    features |= {} if film is None else film.features
    with DatasetWriter(folder, features=features, fps=round(fps), robot_type=robot_type) as writer:
        for number, begin in enumerate(range(0, len(cycles), every)):
            seen = {} if film is None else film.pictures[number]
            sent = cycles[min(begin + every, len(cycles)) - 1].sent
            writer.add({STATE_KEY: cycles[begin].state.position_rad, ACTION: sent, **seen}, instruction)
        return writer.save_episode()
