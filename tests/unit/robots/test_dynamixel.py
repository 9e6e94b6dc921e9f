"""Dynamixel's SDK on a real line against servos that speak protocol 2.0."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.core.errors import RobotError, RobotLostError
from robots.calibration import RAD_PER_COUNT, MotorCalibration, save_calibration
from robots.dynamixel import DynamixelBus
from robots.koch import koch
from robots.servo_bus import BusFaultError
from robots.twin.dynamixel import crc16, packet
from robots.twin.process import TwinProcess

TWIN = {"_target_": "robots.koch.koch_twin"}


@pytest.fixture
def twin(tmp_path):
    with TwinProcess(TWIN, log=tmp_path / "bytes.jsonl") as process:
        save_calibration(tmp_path / "arm.json", process.calibration)
        yield process


@pytest.fixture
def arm(twin, tmp_path):
    robot = koch(twin.port, tmp_path / "arm.json")
    robot.connect()
    yield robot
    robot.disconnect()


def held(arm, target, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        arm.send(target)
        state = arm.observe()
        time.sleep(0.005)
    return state


def test_the_checksum_is_the_protocols_own():
    ping = bytes.fromhex("FF FF FD 00 01 03 00 01")  # the data sheet's example of a ping
    assert crc16(ping) == 0x4E19


@given(st.binary(min_size=0, max_size=40))
def test_no_header_appears_inside_a_packet(given):
    whole = packet(1, 0x03, b"\xff\xff\xfd" + given)
    assert whole.find(b"\xff\xff\xfd\x00", 1) == -1 or b"\xff\xff\xfd\x00" in given


def test_readings_goals_and_model_numbers(arm, twin):
    assert arm.observe().position_rad == pytest.approx(twin.state()["position_rad"], abs=0.05)
    start = arm.arm().position_rad
    target = [start[0] + 0.4, start[1] - 0.2, start[2] + 0.2, start[3], 0.5, 1.0]
    assert arm.send(target) == pytest.approx(target, abs=RAD_PER_COUNT)
    assert held(arm, target, 1.0).position_rad == pytest.approx(target, abs=0.08)
    assert arm.bus.model_number(1) == 1060
    assert arm.bus.model_number(6) == 1200


def test_the_watchdog_stops_an_arm_whose_master_is_silent_and_arming_clears_it(arm, twin):
    start = list(arm.arm().position_rad)
    held(arm, start, 0.2)
    far = [start[0] + 1.5, *start[1:]]
    arm.send(far)
    time.sleep(0.5)
    stopped = twin.state()["position_rad"][0]
    time.sleep(0.5)
    assert twin.state()["position_rad"][0] == pytest.approx(stopped, abs=0.01)
    assert all(twin.state()["torque_on"]), "it holds"
    goal = twin.state()["goal_rad"][0]
    arm.send([start[0] - 1.0, *start[1:]])
    arm.observe()
    assert twin.state()["goal_rad"][0] == goal, "goals are locked until a person arms it again"
    arm.arm()
    assert held(arm, start, 1.0).position_rad == pytest.approx(start, abs=0.08)


def test_corrupted_packets_give_no_wrong_reading(arm, twin):
    start = arm.arm().position_rad
    truth = held(arm, start, 0.5).position_rad
    twin.tell(set={"corrupt": 0.05})
    failed = 0
    for _ in range(300):
        arm.send(start)
        try:
            assert arm.observe().position_rad == pytest.approx(truth, abs=6 * RAD_PER_COUNT)
        except BusFaultError:
            failed += 1
    assert arm.read_faults > 0
    assert failed <= 10


def test_a_pulled_cable_is_a_lost_robot_and_every_later_call_says_so(arm, twin):
    arm.arm()
    twin.tell(cut=True)
    for call in (arm.observe, lambda: arm.send([0.0] * 6), arm.release):
        with pytest.raises(RobotLostError, match="gone"):
            call()
    arm.disconnect()


def test_complaints_name_the_joint(arm, twin):
    twin.tell(overload="wrist_flex")
    with pytest.raises(RobotError, match=r"'wrist_flex': overload"):
        arm.observe()


def test_calibration_is_stored_with_its_sign_and_refused_while_the_torque_is_on(twin):
    bus = DynamixelBus(twin.port)
    bus.open()
    try:
        bus.store_calibration(MotorCalibration(3, 0, -700, 800, 3300))
        assert bus.stored_calibration(3) == (-700, 800, 3300)
        bus.set_torque([3], on=True)
        with pytest.raises(BusFaultError, match="register 20"):
            bus.store_calibration(MotorCalibration(3, 0, 5, 800, 3300))
    finally:
        bus.close()
