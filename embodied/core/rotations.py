"""Rotations, batched over leading axes `(...)`. Quaternions are wxyz; all angles are in radians.

A rotation `q` or `R` of a frame B in a frame A (`R_A_B`) takes vectors written in B to vectors written in A.
"""

from __future__ import annotations

import numpy as np


def quat_normalize(q: np.ndarray) -> np.ndarray:
    """Unit quaternion `(..., 4)`; a quaternion of length 0 becomes the identity."""
    q = np.asarray(q, dtype=np.float64)
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(length > 1e-12, q / np.maximum(length, 1e-12), np.array([1.0, 0.0, 0.0, 0.0]))


def quat_conjugate(q: np.ndarray) -> np.ndarray:
    """The inverse of a unit quaternion, `(..., 4)`."""
    return np.asarray(q, dtype=np.float64) * np.array([1.0, -1.0, -1.0, -1.0])


def quat_multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product: first `b`, then `a`. `(..., 4)`."""
    aw, ax, ay, az = np.moveaxis(np.asarray(a, dtype=np.float64), -1, 0)
    bw, bx, by, bz = np.moveaxis(np.asarray(b, dtype=np.float64), -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def quat_rotate(q: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Rotates vectors `(..., 3)` by unit quaternions `(..., 4)`."""
    q, vector = np.asarray(q, dtype=np.float64), np.asarray(vector, dtype=np.float64)
    twice = 2.0 * np.cross(q[..., 1:], vector)
    return vector + q[..., :1] * twice + np.cross(q[..., 1:], twice)


def quat_from_axis_angle(axis: np.ndarray, angle: np.ndarray | float) -> np.ndarray:
    """Unit quaternion `(..., 4)` of a turn by `angle (...)` [rad] about `axis (..., 3)` of any length."""
    axis, half = np.asarray(axis, dtype=np.float64), 0.5 * np.asarray(angle, dtype=np.float64)[..., None]
    unit = axis / np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-12)
    sine = np.sin(half) * unit
    return np.concatenate([np.broadcast_to(np.cos(half), (*sine.shape[:-1], 1)), sine], axis=-1)


def quat_to_rotation_vector(q: np.ndarray) -> np.ndarray:
    """Axis times angle `(..., 3)` [rad], the angle in [0, pi]."""
    q = quat_normalize(q)
    q = np.where(q[..., :1] < 0, -q, q)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, q[..., :1])
    return q[..., 1:] * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0)


def quat_angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle `(...)` between two orientations [rad], in [0, pi]."""
    return np.linalg.norm(quat_to_rotation_vector(quat_multiply(quat_conjugate(a), b)), axis=-1)


def quat_to_matrix(q: np.ndarray) -> np.ndarray:
    """Rotation matrices `(..., 3, 3)` of unit quaternions `(..., 4)`."""
    w, x, y, z = np.moveaxis(quat_normalize(q), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_quat(matrix: np.ndarray) -> np.ndarray:
    """Unit quaternions `(..., 4)` with w >= 0 of rotation matrices `(..., 3, 3)` (Shepperd 1978)."""
    m = np.asarray(matrix, dtype=np.float64)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    # Row k is the quaternion times 4 q_k: the largest diagonal is the best conditioned of the four.
    candidates = np.stack(
        [
            np.stack([1 + xx + yy + zz, wx, wy, wz], axis=-1),
            np.stack([wx, 1 + xx - yy - zz, xy, xz], axis=-1),
            np.stack([wy, xy, 1 - xx + yy - zz, yz], axis=-1),
            np.stack([wz, xz, yz, 1 - xx - yy + zz], axis=-1),
        ],
        axis=-2,
    )
    best = np.argmax(np.diagonal(candidates, axis1=-2, axis2=-1), axis=-1)
    q = quat_normalize(np.take_along_axis(candidates, best[..., None, None], axis=-2)[..., 0, :])
    return np.where(q[..., :1] < 0, -q, q)


def looking_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Orientation `(4,)` of a camera (looks along -z, y up in the picture) upright in a world with z up.

    Args:
        position: of the camera `(3,)` [m].
        target: what is in the middle of the picture `(3,)` [m], not straight above or below.
    """
    back = np.asarray(position, dtype=np.float64) - np.asarray(target, dtype=np.float64)
    back = back / np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right = right / np.linalg.norm(right)
    return matrix_to_quat(np.stack([right, np.cross(back, right), back], axis=-1))


def matrix_to_6d(matrix: np.ndarray) -> np.ndarray:
    """First two columns `(..., 6)` of rotation matrices: fit for regression (Zhou et al. 2019)."""
    m = np.asarray(matrix, dtype=np.float64)
    return np.concatenate([m[..., :, 0], m[..., :, 1]], axis=-1)


def matrix_from_6d(six: np.ndarray) -> np.ndarray:
    """Rotation matrices `(..., 3, 3)` from six numbers by Gram-Schmidt; inverse of `matrix_to_6d`."""
    six = np.asarray(six, dtype=np.float64)
    a, b = six[..., :3], six[..., 3:]
    x = a / np.maximum(np.linalg.norm(a, axis=-1, keepdims=True), 1e-12)
    rest = b - np.sum(x * b, axis=-1, keepdims=True) * x
    y = rest / np.maximum(np.linalg.norm(rest, axis=-1, keepdims=True), 1e-12)
    return np.stack([x, y, np.cross(x, y)], axis=-1)
