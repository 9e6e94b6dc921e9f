"""Calibration: LeRobot's file, counts and angles, and what is refused."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.core.errors import CalibrationError
from robots.calibration import (
    RAD_PER_COUNT,
    MotorCalibration,
    check_against_servos,
    load_calibration,
    middle_calibration,
    save_calibration,
    scales,
)
from robots.so101 import IDS, MECHANICAL_RAD

GOOD = middle_calibration(MECHANICAL_RAD, IDS)


def changed(joint, **values):
    return GOOD | {joint: MotorCalibration(**(vars(GOOD[joint]) | values))}


def test_the_file_is_lerobots_and_comes_back_the_same(tmp_path):
    save_calibration(tmp_path / "arm.json", GOOD)
    data = json.loads((tmp_path / "arm.json").read_text())
    assert set(data["gripper"]) == {"id", "drive_mode", "homing_offset", "range_min", "range_max"}
    assert load_calibration(tmp_path / "arm.json") == GOOD


@given(joint=st.sampled_from(list(MECHANICAL_RAD)), share=st.floats(0.0, 1.0), mode=st.integers(0, 1))
def test_an_angle_comes_back_within_half_a_count(joint, share, mode):
    low, high = MECHANICAL_RAD[joint]
    scale = scales(changed(joint, drive_mode=mode), MECHANICAL_RAD)[joint]
    angle = low + share * (high - low)
    assert abs(scale.angle(scale.count(angle)) - angle) <= 1.5 * RAD_PER_COUNT
    assert scale.low_count <= scale.count(angle) <= scale.high_count


@pytest.mark.parametrize("angle", [math.inf, -math.inf, 1e9, -1e9])
def test_no_angle_leaves_the_calibrated_range(angle):
    scale = scales(GOOD, MECHANICAL_RAD)["elbow_flex"]
    if math.isinf(angle):
        with pytest.raises(OverflowError):
            scale.count(angle)
    else:
        assert scale.count(angle) in (scale.low_count, scale.high_count)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"range_min": 3000, "range_max": 1000}, "wraps"),
        ({"range_min": -5}, "wraps"),
        ({"range_max": 4096}, "wraps"),
        ({"range_min": 1800, "range_max": 2200}, "built for"),
    ],
)
def test_a_range_that_cannot_be_is_refused_with_the_joint(values, message):
    with pytest.raises(CalibrationError, match=rf"'elbow_flex'.*{message}"):
        scales(changed("elbow_flex", **values), MECHANICAL_RAD)


def test_swapped_motors_are_noticed():
    swapped = GOOD | {"gripper": GOOD["wrist_roll"], "wrist_roll": GOOD["gripper"]}
    with pytest.raises(CalibrationError, match=r"'wrist_roll'.*Another joint's motor"):
        scales(swapped, MECHANICAL_RAD)


def test_a_missing_joint_is_named():
    with pytest.raises(CalibrationError, match="joint 'gripper'"):
        scales({k: v for k, v in GOOD.items() if k != "gripper"}, MECHANICAL_RAD)


def test_another_arms_file_is_refused_with_every_joint(tmp_path):
    stored = {j: (m.homing_offset, m.range_min, m.range_max) for j, m in GOOD.items()}
    check_against_servos(GOOD, stored, tmp_path)
    stored["wrist_flex"], stored["gripper"] = (7, 900, 3000), (0, 1, 2)
    with pytest.raises(CalibrationError, match=r"'wrist_flex'.*\(7, 900, 3000\).*'gripper'"):
        check_against_servos(GOOD, stored, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no calibration"),
        ("[]", "must be a mapping"),
        ('{"gripper": {"id": 1}}', "'gripper' has no whole number for drive_mode"),
        ('{"gripper": {"id": 1.5, "drive_mode": 0, "homing_offset": 0, "range_min": 0, "range_max": 1}}', "for id"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, text, message):
    (tmp_path / "arm.json").write_text(text)
    with pytest.raises(CalibrationError, match=message):
        load_calibration(tmp_path / "arm.json")


def test_one_id_twice_is_refused(tmp_path):
    save_calibration(tmp_path / "arm.json", changed("gripper", id=1))
    with pytest.raises(CalibrationError, match="shoulder_pan, gripper have the same motor id"):
        load_calibration(tmp_path / "arm.json")
