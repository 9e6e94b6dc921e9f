"""Calibration by hand, as LeRobot does it: the middle first, then both ends of every joint.

The middle is made 2048 before the sweep, so that no encoder passes zero on the way; counts are unwrapped while the
joint is swept all the same, and a sweep that covers more than a turn is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embodied.core.errors import CalibrationError, RobotError

PERIOD_S, TURN = 0.02, 4096


@dataclass(frozen=True)
class Calibratable:
    """What calibrating needs of a robot.

    Attributes:
        bus: the servos, not yet open.
        ids: motor ids by joint.
        make: `(id, homing_offset, range_min, range_max)` to one motor's calibration.
        check: refuses a calibration that cannot be; raises CalibrationError.
        save: `(path, calibration)`.
    """

    bus: Any
    ids: Mapping[str, int]
    make: Callable[[int, int, int, int], Any]
    check: Callable[[Mapping[str, Any]], Any]
    save: Callable[[Path, Mapping[str, Any]], None]


def calibrate(parts: Calibratable, path: Path, ask: Callable[[str], str], say: Callable[[str], None]) -> Path:
    """Leads a person through it; writes the file and the servos' memory only when all of it is right.

    Args:
        parts: of the robot.
        path: of the file to write.
        ask: shows a text and returns when the person has pressed return.
        say: shows a text.

    Raises:
        CalibrationError: a joint was not moved over its range, or over more than a turn; nothing is changed.
    """
    bus = parts.bus
    bus.open()
    try:
        before = {joint: bus.stored_calibration(motor) for joint, motor in parts.ids.items()}
        bus.set_torque(parts.ids.values(), on=False)
        ask("The torque is off: hold the arm. Bring every joint to the middle of its range, then press return. ")
        middle = _counts(parts)
        ask("Move every joint slowly to both ends of its range; press return when all are done. Press return to begin.")
        low, high = _sweep(parts, middle, ask)
        found = {}
        for joint, motor in parts.ids.items():
            if high[joint] - low[joint] >= TURN:
                raise CalibrationError(
                    f"joint '{joint}' was swept over {high[joint] - low[joint]} counts, more than a turn of {TURN}."
                    " Move it from one end to the other and back, once"
                )
            encoder = middle[joint] - bus.offset_sign * before[joint][0]
            offset = _held(bus.offset_sign * (TURN // 2 - encoder))
            shift = (encoder + bus.offset_sign * offset) % TURN - middle[joint]
            found[joint] = parts.make(motor, offset, low[joint] + shift, high[joint] + shift)
        parts.check(found)
        for motor in found.values():
            bus.store_calibration(motor)
        parts.save(path, found)
        for joint, motor in found.items():
            say(f"  {joint:<14} id {motor.id}: offset {motor.homing_offset}, {motor.range_min} to {motor.range_max}")
    finally:
        bus.close()
    return path


def _held(offset: int) -> int:
    """The same place on the turn as an offset that a servo can hold: 11 bits and a sign."""
    return max((offset + TURN // 2) % TURN - TURN // 2, 1 - TURN // 2)


def _counts(parts: Calibratable) -> dict[str, int]:
    for _ in range(20):
        found = parts.bus.read(list(parts.ids.values()))
        if len(found) == len(parts.ids):
            return {joint: found[motor].count for joint, motor in parts.ids.items()}
        parts.bus.quiesce()
    raise RobotError(f"not all of the servos {list(parts.ids.values())} answer")


def _sweep(
    parts: Calibratable, begin: Mapping[str, int], ask: Callable[[str], str]
) -> tuple[dict[str, int], dict[str, int]]:
    """Lowest and highest count of every joint while the person moves it, unwrapped from where it began."""
    at, low, high = dict(begin), dict(begin), dict(begin)
    done, fault = threading.Event(), []

    def watch() -> None:
        while not done.wait(PERIOD_S):
            try:
                seen = _counts(parts)
            except RobotError as error:
                fault.append(error)
                return
            for joint, count in seen.items():
                step = (count - at[joint] + TURN // 2) % TURN - TURN // 2  # the shorter way round
                at[joint] += step
                low[joint], high[joint] = min(low[joint], at[joint]), max(high[joint], at[joint])

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        ask("Sweeping. Press return when every joint has been at both ends. ")
    finally:
        time.sleep(2 * PERIOD_S)
        done.set()
        watcher.join(timeout=2.0)
    if fault:
        raise fault[0]
    return low, high
