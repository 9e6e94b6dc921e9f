"""Calibration of serial-servo arms: LeRobot's JSON file, and encoder counts to joint angles.

The file holds five numbers a motor: `id`, `drive_mode`, `homing_offset`, `range_min`, `range_max`. The servo subtracts
the offset, so that counts in the range do not wrap; the middle of the range is the middle of the joint's mechanical
range, and a count is 2 pi / 4096 everywhere. (LeRobot's own `DEGREES` divides by 4095: 0.02 % less.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from embodied.core.errors import CalibrationError
from embodied.core.files import write_bytes

COUNTS = 4096  # of one turn
RAD_PER_COUNT = 2.0 * math.pi / COUNTS
FIELDS = ("id", "drive_mode", "homing_offset", "range_min", "range_max")
RANGE_TOLERANCE = 0.15  # of the mechanical range, by which a measured one may differ: sweeps by hand stop short


@dataclass(frozen=True)
class MotorCalibration:
    """One motor, as in LeRobot's file.

    Attributes:
        id: on the bus.
        drive_mode: 1 where counts fall as the joint's angle rises, else 0.
        homing_offset: what the servo subtracts from its encoder [counts].
        range_min: lowest count of the joint.
        range_max: highest count of the joint.
    """

    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int


@dataclass(frozen=True)
class JointScale:
    """Counts to radians and back, for one joint.

    Attributes:
        zero_count: where the joint's angle is zero [counts], not whole.
        sign: 1, or -1 where counts fall as the angle rises.
        low_count: lowest goal that may be sent.
        high_count: highest goal that may be sent.
    """

    zero_count: float
    sign: int
    low_count: int
    high_count: int

    def angle(self, count: float) -> float:
        """Angle [rad] of a count."""
        return self.sign * (count - self.zero_count) * RAD_PER_COUNT

    def count(self, angle_rad: float) -> int:
        """Nearest count of an angle [rad], inside the calibrated range."""
        wanted = round(self.zero_count + self.sign * angle_rad / RAD_PER_COUNT)
        return min(max(wanted, self.low_count), self.high_count)


def scales(
    calibration: Mapping[str, MotorCalibration], mechanical_rad: Mapping[str, tuple[float, float]]
) -> dict[str, JointScale]:
    """How each joint's counts are angles.

    Args:
        calibration: by joint.
        mechanical_rad: lowest and highest angle of each joint as the robot is built [rad].

    Raises:
        CalibrationError: a joint is missing, its range wraps, is empty, or is not the width that the joint has.
    """
    found = {}
    for joint, (low, high) in mechanical_rad.items():
        if joint not in calibration:
            raise CalibrationError(
                f"no calibration of joint '{joint}'; the file has {', '.join(calibration)}. Calibrate all joints"
            )
        motor = calibration[joint]
        if not 0 <= motor.range_min < motor.range_max < COUNTS:
            raise CalibrationError(
                f"joint '{joint}': the range {motor.range_min} to {motor.range_max} wraps or is empty; counts rise from"
                f" range_min to range_max within 0 to {COUNTS - 1}. Calibrate it anew: bring the arm to the middle of"
                " its range first, so that the encoder does not pass zero on the way"
            )
        width, built = (motor.range_max - motor.range_min) * RAD_PER_COUNT, high - low
        if abs(width - built) > RANGE_TOLERANCE * built:
            raise CalibrationError(
                f"joint '{joint}': calibrated over {width:.2f} rad, built for {built:.2f} rad. Another joint's motor is"
                f" in its place (id {motor.id}), or the sweep did not reach both ends. Calibrate it anew"
            )
        sign = -1 if motor.drive_mode else 1
        middle = 0.5 * (motor.range_min + motor.range_max) - sign * 0.5 * (low + high) / RAD_PER_COUNT
        found[joint] = JointScale(middle, sign, motor.range_min, motor.range_max)
    return found


def load_calibration(path: Path) -> dict[str, MotorCalibration]:
    """Reads LeRobot's file.

    Raises:
        CalibrationError: no such file, or a field is missing or no whole number; names the joint.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CalibrationError(
            f"no calibration in {path}: {error}. Make one with embodied robot calibrate, or give LeRobot's file"
        ) from None
    if not isinstance(data, dict) or not data:
        raise CalibrationError(f"calibration {path} must be a mapping from joint to {', '.join(FIELDS)}")
    found = {}
    for joint, given in data.items():
        wrong = [f for f in FIELDS if not isinstance(given, dict) or type(given.get(f)) is not int]
        if wrong:
            raise CalibrationError(f"calibration {path}: joint '{joint}' has no whole number for {', '.join(wrong)}")
        found[joint] = MotorCalibration(**{f: given[f] for f in FIELDS})
    ids = [motor.id for motor in found.values()]
    twice = [joint for joint, motor in found.items() if ids.count(motor.id) > 1]
    if twice:
        raise CalibrationError(f"calibration {path}: joints {', '.join(twice)} have the same motor id")
    return found


def save_calibration(path: Path, calibration: Mapping[str, MotorCalibration]) -> None:
    """Writes LeRobot's file, whole or not at all."""
    data = {joint: asdict(motor) for joint, motor in calibration.items()}
    write_bytes(Path(path), (json.dumps(data, indent=4) + "\n").encode())


def check_against_servos(
    calibration: Mapping[str, MotorCalibration], stored: Mapping[str, tuple[int, int, int]], path: Path
) -> None:
    """Compares the file with what the servos hold.

    Args:
        calibration: of the file, by joint.
        stored: homing offset, lowest and highest count that each servo holds in its EEPROM, by joint.
        path: of the file, for the message.

    Raises:
        CalibrationError: they differ; names every joint.
    """
    wrong = []
    for joint, motor in calibration.items():
        wanted = (motor.homing_offset, motor.range_min, motor.range_max)
        if joint in stored and tuple(stored[joint]) != wanted:
            wrong.append(f"'{joint}' (id {motor.id}) holds {tuple(stored[joint])}, the file says {wanted}")
    if wrong:
        raise CalibrationError(
            f"the calibration {path} is not that of this arm (homing offset, lowest, highest count): joint "
            + "; ".join(wrong)
            + ". Give the arm's own file, or calibrate it anew"
        )


def middle_calibration(
    mechanical_rad: Mapping[str, tuple[float, float]], ids: Sequence[int]
) -> dict[str, MotorCalibration]:
    """The calibration of an arm whose encoders read 2048 in the middle of every joint's range (twins)."""
    found = {}
    for (joint, (low, high)), motor in zip(mechanical_rad.items(), ids, strict=True):
        half = int(0.5 * (high - low) / RAD_PER_COUNT)
        found[joint] = MotorCalibration(motor, 0, 0, max(COUNTS // 2 - half, 0), min(COUNTS // 2 + half, COUNTS - 1))
    return found


def uncalibrated(
    calibration: Mapping[str, MotorCalibration], built: Mapping[str, JointScale], shift: int
) -> tuple[dict[str, MotorCalibration], dict[str, JointScale]]:
    """The same arm as it comes out of its box: nothing burnt in, encoders mounted `shift` counts on (twins)."""
    bare = {j: MotorCalibration(m.id, 0, 0, 0, COUNTS - 1) for j, m in calibration.items()}
    turned = {j: JointScale(s.zero_count + shift, s.sign, 0, COUNTS - 1) for j, s in built.items()}
    return bare, turned
