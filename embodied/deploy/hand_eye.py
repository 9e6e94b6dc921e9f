"""Where a camera is: from pictures of a marker board that the arm moves, or that the arm's own camera moves about.

Two mounts, one equation. The camera stands in the room and the board is on the tool (`room`), or the camera is on the
tool and the board lies in the room (`tool`). With A the motion of what carries the one between two views and B the
board's motion as the camera sees it, A X = X B (Park and Martin 1994, "Robot sensor calibration: solving AX = XB on the
Euclidean group"): closed form for the start, then least squares over X and the board's place of the distances between
corners seen and corners projected, which is what the pictures tell. The focal lengths and the centre are in it too: far
boards hardly tell a focal length from a distance, but the arm knows how far it went. A robust loss keeps one bad view
from deciding, and views that are far off are then left out.

OpenCV finds corners and first intrinsics, and projects; the rest is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.errors import CalibrationError
from embodied.deploy.board import Corners

MOUNTS = ("room", "tool")
FEWEST_VIEWS, FEWEST_CORNERS = 5, 6
LEAST_TURN_RAD = 0.1  # rms rotation about a second axis
OUTLIER = 3.0  # times the median error of a view


@dataclass(frozen=True)
class View:
    """One picture and where the arm was.

    Attributes:
        T_base_tool: the tool in the frame of the arm's base `(4, 4)`.
        corners: of the board, as seen.
    """

    T_base_tool: np.ndarray
    corners: Corners


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera with OpenCV's five distortion coefficients.

    Attributes:
        matrix: `(3, 3)` [pixels].
        distortion: `(5,)`: k1, k2, p1, p2, k3.
        error_px: rms distance of corners seen and projected [pixels].
    """

    matrix: np.ndarray
    distortion: np.ndarray
    error_px: float


@dataclass(frozen=True)
class HandEye:
    """Where the camera is.

    Attributes:
        mount: `room` or `tool`.
        T_mount_camera: the camera (x right, y down, z forward) in the frame of the arm's base (`room`) or of its tool
            (`tool`), `(4, 4)`.
        T_other_board: the board in the frame of the tool (`room`) or of the base (`tool`), `(4, 4)`.
        intrinsics: as they came out with it.
        error_px: rms distance of corners seen and projected over all views but the outliers [pixels].
        error_mm: the same on the board [mm].
        view_errors_px: by view, NaN for those not used.
        outliers: views whose error was beyond three times the median; they are left out of the last solution.
    """

    mount: str
    T_mount_camera: np.ndarray
    T_other_board: np.ndarray
    intrinsics: Intrinsics
    error_px: float
    error_mm: float
    view_errors_px: tuple[float, ...]
    outliers: tuple[int, ...]


def find_intrinsics(views: Sequence[View], size: tuple[int, int], *, distorted: bool = True) -> Intrinsics:
    """The camera's intrinsics from the same views.

    Args:
        views: with enough corners.
        size: height and width of the pictures [pixels].
        distorted: whether the lens may bend lines; a drawn picture's does not.

    Raises:
        CalibrationError: too few views show enough of the board.
    """
    import cv2

    used = _usable(views)
    board = [v.corners.board.astype(np.float32) for v in used]
    image = [v.corners.image.astype(np.float32).reshape(-1, 1, 2) for v in used]
    flags = 0 if distorted else cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K1 | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3
    error, matrix, distortion, _, _ = cv2.calibrateCamera(board, image, (size[1], size[0]), None, None, flags=flags)
    return Intrinsics(np.asarray(matrix), np.asarray(distortion).ravel()[:5], float(error))


def find_camera(
    views: Sequence[View], intrinsics: Intrinsics, mount: str, *, intrinsics_known: bool = False
) -> HandEye:
    """Solves for the camera's place.

    Args:
        views: of one board, the arm in different poses.
        intrinsics: of the camera.
        mount: `room` or `tool`.
        intrinsics_known: whether they are from better pictures (near ones, filling the picture) and stay as they are.

    Raises:
        CalibrationError: too few views, or an arm that did not turn about two different axes; says what to do.
    """
    if mount not in MOUNTS:
        raise CalibrationError(f"mount={mount!r}: the camera is in the room or on the tool: {' or '.join(MOUNTS)}")
    used = _usable(views)
    T_camera_board = [_seen(view.corners, intrinsics) for view in used]
    # `moved` takes the frame in which the camera is wanted to the one in which the board stands still.
    moved = [v.T_base_tool if mount == "tool" else np.linalg.inv(v.T_base_tool) for v in used]
    _check_turns(moved)
    X = _closed_form(moved, T_camera_board)
    Y = moved[0] @ X @ T_camera_board[0]
    free = 12 if intrinsics_known else 16
    X, Y, intrinsics = _refined(X, Y, moved, used, intrinsics, free)
    errors = _view_errors(X, Y, moved, used, intrinsics)
    good = [i for i, e in enumerate(errors) if e["px"] <= OUTLIER * float(np.median([e["px"] for e in errors]))]
    if FEWEST_VIEWS <= len(good) < len(used):  # once more without those that cannot be right
        X, Y, intrinsics = _refined(X, Y, [moved[i] for i in good], [used[i] for i in good], intrinsics, free)
        errors = _view_errors(X, Y, moved, used, intrinsics)
    worst = np.array([e["px"] for e in errors])
    by_view = dict(zip(map(id, used), worst, strict=True))
    told = tuple(float(by_view.get(id(view), np.nan)) for view in views)
    kept = {id(used[i]) for i in good}
    weights = np.array([len(v.corners) for v in used])
    return HandEye(
        mount=mount,
        T_mount_camera=X,
        T_other_board=Y,
        intrinsics=intrinsics,
        error_px=float(np.sqrt(np.average(worst[good] ** 2, weights=weights[good]))),
        error_mm=float(np.sqrt(np.average(np.array([e["mm"] for e in errors])[good] ** 2, weights=weights[good]))),
        view_errors_px=told,
        outliers=tuple(i for i, view in enumerate(views) if id(view) in by_view and id(view) not in kept),
    )


def as_plain(found: HandEye) -> dict[str, Any]:
    """Numbers and lists, for a file."""
    pinhole = found.intrinsics
    return {
        "mount": found.mount,
        "T_mount_camera": found.T_mount_camera.tolist(),
        "T_other_board": found.T_other_board.tolist(),
        "intrinsics": {"matrix": pinhole.matrix.tolist(), "distortion": pinhole.distortion.tolist()},
        "error_px": found.error_px,
        "error_mm": found.error_mm,
        "outliers": list(found.outliers),
    }


def read_intrinsics(path: Path) -> Intrinsics:
    """The intrinsics of a file that `as_plain` went into.

    Raises:
        CalibrationError: there are none in it.
    """
    import yaml

    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))["intrinsics"]
        matrix, distortion = np.array(told["matrix"], float), np.array(told["distortion"], float)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"no intrinsics in {path}: {type(error).__name__}: {error}") from None
    if matrix.shape != (3, 3) or distortion.shape != (5,):
        raise CalibrationError(f"{path}: intrinsics.matrix is {matrix.shape}, not (3, 3), or distortion is not (5,)")
    return Intrinsics(matrix, distortion, float("nan"))


def _usable(views: Sequence[View]) -> list[View]:
    used = [view for view in views if len(view.corners) >= FEWEST_CORNERS and view.corners.spans]
    if len(used) < FEWEST_VIEWS:
        raise CalibrationError(
            f"{len(used)} of {len(views)} pictures show at least {FEWEST_CORNERS} corners of the board; {FEWEST_VIEWS}"
            " are needed, 15 are better. More light, a nearer board, or another board than was told?"
        )
    return used


def _seen(corners: Corners, intrinsics: Intrinsics) -> np.ndarray:
    """The board in the camera's frame, from one picture."""
    import cv2

    good, turn, shift = cv2.solvePnP(
        corners.board, corners.image, intrinsics.matrix, intrinsics.distortion, flags=cv2.SOLVEPNP_ITERATIVE
    )
    if not good:
        raise CalibrationError("a view whose corners lie on one line: tilt the board")
    return _transform(np.concatenate([turn.ravel(), shift.ravel()]))


def _check_turns(moved: Sequence[np.ndarray]) -> None:
    """The axes about which the arm turned must span at least a plane."""
    turns = np.array([_log(moved[0][:3, :3].T @ T[:3, :3]) for T in moved[1:]])
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(turns.T @ turns / len(turns)), 0.0))[::-1]
    if spread[1] < LEAST_TURN_RAD:
        raise CalibrationError(
            f"the arm turned by {spread[0]:.2f} rad about one axis and by {spread[1]:.2f} rad about a second one:"
            f" {LEAST_TURN_RAD} rad are needed, or the camera's place is not determined. Tilt the tool in two ways"
        )


def _closed_form(moved: Sequence[np.ndarray], seen: Sequence[np.ndarray]) -> np.ndarray:
    """X of A X = X B over all pairs of views; Park and Martin 1994, equations 25 and 28."""
    pairs = [(i, j) for i in range(len(moved)) for j in range(i + 1, len(moved))]
    A = [np.linalg.inv(moved[j]) @ moved[i] for i, j in pairs]
    B = [seen[j] @ np.linalg.inv(seen[i]) for i, j in pairs]
    M = sum(np.outer(_log(b[:3, :3]), _log(a[:3, :3])) for a, b in zip(A, B, strict=True))
    u, _, vt = np.linalg.svd(M)
    R = vt.T @ np.diag([1.0, 1.0, np.linalg.det(vt.T @ u.T)]) @ u.T
    left = np.concatenate([a[:3, :3] - np.eye(3) for a in A])
    right = np.concatenate([R @ b[:3, 3] - a[:3, 3] for a, b in zip(A, B, strict=True)])
    X = np.eye(4)
    X[:3, :3], X[:3, 3] = R, np.linalg.lstsq(left, right, rcond=None)[0]
    return X


def _refined(
    X: np.ndarray, Y: np.ndarray, moved: Sequence[np.ndarray], views: Sequence[View], intrinsics: Intrinsics, free: int
) -> tuple[np.ndarray, np.ndarray, Intrinsics]:
    """Least squares of all corners' distances over both places (12) and the pinhole (4), soft beyond a pixel."""
    from scipy.optimize import least_squares

    def at(p: np.ndarray) -> tuple[np.ndarray, np.ndarray, Intrinsics]:
        matrix = intrinsics.matrix.copy()
        if free > 12:
            matrix[[0, 1, 0, 1], [0, 1, 2, 2]] += intrinsics.matrix[0, 0] * p[12:]
        pinhole = Intrinsics(matrix, intrinsics.distortion, intrinsics.error_px)
        return X @ _transform(p[:6]), Y @ _transform(p[6:12]), pinhole

    def distances(p: np.ndarray) -> np.ndarray:
        x, y, pinhole = at(p)
        return np.concatenate([_missed(x, y, T, v, pinhole).ravel() for T, v in zip(moved, views, strict=True)])

    found: Any = least_squares(distances, np.zeros(free), loss="soft_l1", f_scale=1.0, x_scale="jac")
    return at(found.x)


def _missed(X: np.ndarray, Y: np.ndarray, T: np.ndarray, view: View, intrinsics: Intrinsics) -> np.ndarray:
    """Corners projected less corners seen `(N, 2)` [pixels]."""
    import cv2

    T_camera_board = np.linalg.inv(T @ X) @ Y
    turn, _ = cv2.Rodrigues(T_camera_board[:3, :3])
    projected, _ = cv2.projectPoints(
        view.corners.board, turn, T_camera_board[:3, 3], intrinsics.matrix, intrinsics.distortion
    )
    return projected.reshape(-1, 2) - view.corners.image


def _view_errors(
    X: np.ndarray, Y: np.ndarray, moved: Sequence[np.ndarray], views: Sequence[View], intrinsics: Intrinsics
) -> list[dict[str, float]]:
    """Root of the mean squared distance by view, in the picture and on the board."""
    found = []
    for T, view in zip(moved, views, strict=True):
        missed = _missed(X, Y, T, view, intrinsics)
        error_px = float(np.sqrt((missed**2).sum(axis=1).mean()))
        away_m = float(np.linalg.norm((np.linalg.inv(T @ X) @ Y)[:3, 3]))
        found.append({"px": error_px, "mm": 1e3 * error_px * away_m / float(intrinsics.matrix[0, 0])})
    return found


def _log(R: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.Rodrigues(np.ascontiguousarray(R))[0].ravel()


def _transform(vector: np.ndarray) -> np.ndarray:
    """`(4, 4)` of a rotation vector and a translation `(6,)`."""
    import cv2

    T = np.eye(4)
    T[:3, :3], T[:3, 3] = cv2.Rodrigues(np.asarray(vector[:3], float))[0], vector[3:]
    return T
