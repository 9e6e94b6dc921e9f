"""The camera contract: the newest picture with the time at which it came, or an error; never an old one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Frame:
    """One picture.

    Attributes:
        stamp_s: when it reached this machine, monotonic clock [s].
        picture: `(H, W, 3)` uint8, RGB, first row on top.
    """

    stamp_s: float
    picture: np.ndarray


@runtime_checkable
class Camera(Protocol):
    """What takes pictures of a robot at work.

    Attributes:
        shape: `(H, W, 3)` of its pictures; known before connecting.
    """

    shape: tuple[int, int, int]

    def connect(self) -> None:
        """Opens it and waits for the first picture.

        Raises:
            CameraError: it is not there, gives nothing, or pictures of another size; says which.
        """
        ...

    def read(self) -> Frame:
        """The newest picture, without waiting.

        Raises:
            CameraError: it is gone, or its newest picture is too old.
        """
        ...

    def disconnect(self) -> None:
        """Closes it; never raises, may be called twice."""
        ...
