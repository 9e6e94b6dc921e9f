"""Pictures for `embodied.deploy.hand_eye`: the arm goes to tilted poses through its gate, and stands while it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from embodied.core.camera import Camera, Frame
from embodied.core.clock import Clock
from embodied.core.errors import CalibrationError, RobotError
from embodied.deploy.loop import ControlLoop
from embodied.deploy.moves import go_and_hold
from embodied.deploy.pacer import Pacer
from embodied.safety.faults import Mode

TILT_RAD, TRIES, SETTLE_S = 0.35, 400, 0.4


def tilted_poses(
    center_rad: Sequence[float],
    low_rad: Sequence[float],
    high_rad: Sequence[float],
    allowed: Callable[[Sequence[float]], bool],
    n: int,
    seed: int = 0,
) -> list[tuple[float, ...]]:
    """Poses about a center, each joint up to 0.35 rad from it: tools tilted every way that the arm can.

    Args:
        center_rad: from where the camera sees the board `(J,)` [rad].
        low_rad: bounds of the joints `(J,)` [rad].
        high_rad: the others.
        allowed: whether a pose may be gone to.
        n: how many.
        seed: of the draw.

    Raises:
        CalibrationError: the center has no such poses about it.
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(TRIES):
        pose = np.clip(np.asarray(center_rad) + rng.uniform(-TILT_RAD, TILT_RAD, len(center_rad)), low_rad, high_rad)
        if allowed(pose.tolist()):
            found.append(tuple(map(float, pose)))
        if len(found) == n:
            return found
    raise CalibrationError(
        f"about {[round(float(x), 2) for x in center_rad]} only {len(found)} of {TRIES} poses are inside the workspace"
        " and free of collisions: give a pose_rad with more room"
    )


def look_from(
    loop: ControlLoop, camera: Camera, poses: Sequence[Sequence[float]], clock: Clock
) -> Iterator[tuple[tuple[float, ...], Frame]]:
    """Goes from pose to pose; yields where the joints are `(J,)` [rad] and a picture from after they came to rest.

    A pose that the gate does not lead to is left out.

    Raises:
        RobotError: a fault ended it.
        CameraError: the camera is gone, or stands still.
    """
    for pose in poses:
        if not go_and_hold(loop, pose, clock):
            if loop.machine.mode is not Mode.RUNNING:
                raise RobotError(f"the robot stopped: {'; '.join(loop.machine.reasons)}")
            continue
        pacer, until_s = Pacer(1.0 / loop.gate.dt_s, clock), clock.now_s() + SETTLE_S
        while True:
            cycle = loop.cycle()
            if clock.now_s() > until_s and (frame := camera.read()).stamp_s > until_s:
                break
            pacer.wait()
        yield cycle.state.position_rad, frame
