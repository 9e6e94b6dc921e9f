"""The vendor's SDK on a real line against servos that speak its protocol."""

import time

import pytest
import sts_wire

from embodied.core.errors import CalibrationError, RobotError, RobotLostError
from robots.calibration import RAD_PER_COUNT, MotorCalibration, middle_calibration, save_calibration
from robots.feetech import FeetechBus, signed, unsigned
from robots.servo_bus import BusFaultError
from robots.so101 import IDS, MECHANICAL_RAD, so101
from robots.twin.process import TwinProcess

TWIN = {"_target_": "robots.so101.so101_twin"}
GOOD = middle_calibration(MECHANICAL_RAD, IDS)


@pytest.fixture
def twin(tmp_path):
    with TwinProcess(TWIN, log=tmp_path / "bytes.jsonl") as process:
        yield process


@pytest.fixture
def arm(twin, tmp_path):
    save_calibration(tmp_path / "arm.json", GOOD)
    robot = so101(twin.port, tmp_path / "arm.json")
    robot.connect()
    yield robot
    robot.disconnect()


def settled(arm, target):
    for _ in range(200):
        arm.send(target)
        arm.observe()
        time.sleep(0.005)
    return arm.observe()


@pytest.mark.parametrize("value", [0, 1, 2047, -1, -2047])
def test_sign_and_magnitude(value):
    assert signed(unsigned(value, 11), 11) == value


def test_readings_are_where_the_joints_are(arm, twin):
    state, truth = arm.observe(), twin.state()
    assert state.position_rad == pytest.approx(truth["position_rad"], abs=3 * RAD_PER_COUNT)
    assert len(state.torque_nm) == len(state.temperature_c) == 6


def test_connecting_moves_nothing_and_arming_holds(arm, twin):
    before = twin.state()
    assert not any(before["torque_on"])
    held = arm.arm()
    time.sleep(0.3)
    after = twin.state()
    assert all(after["torque_on"])
    assert after["position_rad"] == pytest.approx(list(held.position_rad), abs=0.02)


def test_goals_are_reached_and_sent_goals_are_returned(arm, twin):
    start = arm.arm().position_rad
    target = [start[0] + 0.4, start[1] + 0.2, start[2] - 0.2, start[3], 0.5, 1.0]
    sent = arm.send(target)
    assert sent == pytest.approx(target, abs=RAD_PER_COUNT)
    state = settled(arm, target)
    assert state.position_rad == pytest.approx(target, abs=0.05)
    assert twin.state()["goal_rad"] == pytest.approx(list(sent), abs=1e-9)


def test_no_goal_on_the_wire_leaves_the_calibrated_range(arm, twin, tmp_path):
    arm.arm()
    for wild in (1e9, -1e9, 100.0, -3.2):
        arm.send([wild] * 6)
    arm.observe()  # goals have no reply: once this is answered they have been read
    seen = list(sts_wire.goals(tmp_path / "bytes.jsonl"))
    assert len(seen) == 5 * 6
    by_id = {motor.id: motor for motor in GOOD.values()}
    assert all(by_id[motor].range_min <= count <= by_id[motor].range_max for motor, count in seen)


def test_released_joints_fall(arm, twin):
    arm.arm()
    settled(arm, [0.0, 0.0, 0.0, 0.0, 0.0, 0.5])
    arm.release()
    assert not any(twin.state()["torque_on"])
    time.sleep(0.5)
    assert abs(twin.state()["position_rad"][1]) > 0.05


def test_a_pulled_cable_is_a_lost_robot_at_once_and_teardown_is_silent(arm, twin):
    arm.arm()
    twin.tell(cut=True)
    with pytest.raises(RobotLostError, match="gone"):
        arm.observe()
    with pytest.raises(RobotLostError):
        arm.send([0.0] * 6)
    arm.disconnect()
    arm.disconnect()
    assert all(twin.state()["torque_on"]), "the servos hold"


def test_corrupted_packets_give_no_wrong_reading(arm, twin):
    truth = settled(arm, arm.arm().position_rad).position_rad
    twin.tell(set={"corrupt": 0.05})
    failed = 0
    for _ in range(400):
        try:
            assert arm.observe().position_rad == pytest.approx(truth, abs=4 * RAD_PER_COUNT)
        except BusFaultError:
            failed += 1
    assert arm.read_faults > 0, "the fault did happen"
    assert failed <= 8


def test_late_replies_are_not_taken_for_another_registers(arm, twin):
    twin.tell(set={"late": 0.3, "late_s": 0.02})
    for motor in (1, 4, 6):
        joint = list(MECHANICAL_RAD)[motor - 1]
        for _ in range(4):
            assert arm.bus.stored_calibration(motor) == (0, GOOD[joint].range_min, GOOD[joint].range_max)
            assert arm.bus.model_number(motor) == 777


def test_a_silent_bus_is_a_fault_after_five_readings(arm, twin):
    twin.tell(set={"drop": 1.0})
    for _ in range(4):
        with pytest.raises(BusFaultError, match="shoulder_pan"):
            arm.observe()
    with pytest.raises(RobotError, match="5 times in a row") as found:
        arm.observe()
    assert not isinstance(found.value, BusFaultError)
    twin.tell(set={"drop": 0.0})
    assert arm.observe()


def test_an_overheated_servo_names_its_joint(arm, twin):
    twin.tell(overheat=["elbow_flex", 80.0])
    with pytest.raises(RobotError, match=r"'elbow_flex': overheat"):
        arm.observe()


def test_another_arms_calibration_is_refused_with_the_joint(twin, tmp_path):
    other = GOOD | {"wrist_flex": MotorCalibration(**(vars(GOOD["wrist_flex"]) | {"homing_offset": 12}))}
    save_calibration(tmp_path / "other.json", other)
    robot = so101(twin.port, tmp_path / "other.json")
    with pytest.raises(CalibrationError, match="'wrist_flex'"):
        robot.connect()


def test_a_port_that_is_none_says_so(tmp_path):
    save_calibration(tmp_path / "arm.json", GOOD)
    with pytest.raises(RobotLostError, match=r"no port /dev/nothing.*cable"):
        so101("/dev/nothing", tmp_path / "arm.json").connect()


def test_calibration_is_written_into_the_servos_and_survives(twin):
    bus = FeetechBus(twin.port)
    bus.open()
    try:
        bus.store_calibration(MotorCalibration(3, 0, -700, 800, 3300))
        assert bus.stored_calibration(3) == (-700, 800, 3300)
    finally:
        bus.close()


def test_a_reading_that_no_joint_could_reach_is_not_believed(arm, monkeypatch):
    from dataclasses import replace

    truth, read = settled(arm, arm.arm().position_rad).position_rad, arm.bus.read
    wrong = iter([True])

    def once(motors):
        found = dict(read(motors))
        if next(wrong, False):
            found[1] = replace(found[1], count=found[1].count + 900)
        return found

    monkeypatch.setattr(arm.bus, "read", once)
    assert arm.observe().position_rad == pytest.approx(truth, abs=4 * RAD_PER_COUNT)
    assert arm.read_faults >= 1
