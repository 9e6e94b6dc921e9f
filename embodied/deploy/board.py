"""A printed board of chequers and markers (ChArUco): drawn in its true size, and found in pictures, by OpenCV.

Its frame: origin at the outer corner of the first square, x along the rows, y down the columns, z into the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.errors import ConfigError

DPI, INCH_M = 300, 0.0254


@dataclass(frozen=True)
class Corners:
    """What was found of a board in one picture.

    Attributes:
        ids: of the inner corners `(N,)`.
        image: where they are `(N, 2)` [pixels], x to the right and y down.
        board: where they are on the board `(N, 3)` [m].
    """

    ids: np.ndarray
    image: np.ndarray
    board: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def spans(self) -> bool:
        """Whether they span a plane: not all on one row or column."""
        return len(self) > 3 and min(np.ptp(self.board[:, :2], axis=0)) > 0.0


@dataclass(frozen=True)
class Board:
    """One board.

    Attributes:
        columns: squares in a row.
        rows: rows of squares.
        square_m: edge of a square [m]; measure it on the print.
        marker_m: edge of a marker [m].
        dictionary: of OpenCV's markers.
    """

    columns: int = 7
    rows: int = 5
    square_m: float = 0.03
    marker_m: float = 0.022
    dictionary: str = "DICT_4X4_50"

    def __post_init__(self) -> None:
        if self.columns < 3 or self.rows < 3 or not 0.0 < self.marker_m < self.square_m:
            raise ConfigError(
                f"a board of {self.columns} x {self.rows} squares of {self.square_m} m with markers of"
                f" {self.marker_m} m: at least 3 x 3 squares, and markers smaller than they"
            )

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height [m]."""
        return self.columns * self.square_m, self.rows * self.square_m

    def picture(self, pixels_per_square: int = 100) -> np.ndarray:
        """The print `(H, W)` uint8, without a margin."""
        size = (self.columns * pixels_per_square, self.rows * pixels_per_square)
        return self._board().generateImage(size, marginSize=0)

    def save(self, path: Path) -> None:
        """Writes the print as PNG or PDF in its true size: print it without scaling, then measure a square."""
        from PIL import Image

        picture = Image.fromarray(self.picture(round(self.square_m / INCH_M * DPI)))
        margin = round(0.01 / INCH_M * DPI)
        sheet = Image.new("L", (picture.width + 2 * margin, picture.height + 2 * margin), 255)
        sheet.paste(picture, (margin, margin))
        dots = DPI * (picture.width / self.columns) / (self.square_m / INCH_M * DPI)  # whole pixels a square
        try:
            sheet.save(path, dpi=(dots, dots), resolution=dots)
        except (OSError, ValueError) as error:
            raise ConfigError(f"the board cannot be written to {path} (a .png or .pdf): {error}") from None

    def find(self, picture: np.ndarray) -> Corners:
        """The inner corners that are seen in a picture `(H, W, 3)` uint8."""
        import cv2

        gray = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
        corners, ids, _, _ = cv2.aruco.CharucoDetector(self._board()).detectBoard(gray)
        if ids is None or len(ids) == 0:
            return Corners(np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, 3)))
        ids = ids.ravel()
        where = np.asarray(self._board().getChessboardCorners(), float).reshape(-1, 3)
        return Corners(ids, corners.reshape(-1, 2).astype(float), where[ids])

    def _board(self) -> Any:
        try:
            import cv2
        except ImportError as error:
            raise ConfigError(f"a board needs OpenCV: pip install 'embodied-control[cameras]' ({error})") from None
        aruco = cv2.aruco
        if not hasattr(aruco, self.dictionary):
            raise ConfigError(f"dictionary={self.dictionary!r} is none of OpenCV's, such as DICT_4X4_50")
        markers = aruco.getPredefinedDictionary(getattr(aruco, self.dictionary))
        return aruco.CharucoBoard((self.columns, self.rows), self.square_m, self.marker_m, markers)
