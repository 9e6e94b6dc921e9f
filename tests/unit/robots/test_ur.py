"""The vendor's SDK on real connections against a controller that speaks RTDE, URScript's ports and the dashboard."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import mujoco
import numpy as np
import pytest
import ur_wire
import yaml

from embodied.core.assets import conf_dir, sim_assets_dir
from embodied.core.clock import MonotonicClock, VirtualClock
from embodied.core.errors import CalibrationError, RobotError, RobotLostError
from embodied.deploy.daemon import make_loop
from embodied.safety.faults import Mode
from robots.twin.process import TwinProcess
from robots.ur import MAX_RAD, STALE_S, ur5e

pytest.importorskip("rtde_control", reason="needs the extra `ur`")
TWIN = {"_target_": "robots.ur.ur5e_twin"}
SOON_S = 10.0  # for what happens at once on an idle machine
CLIENT = """
import json, sys, time
from robots.ur import ur5e
arm = ur5e(**json.loads(sys.argv[1]))
arm.connect()
start = arm.arm().position_rad
began = time.monotonic()
while True:
    arm.send([start[0] + min(0.3 * (time.monotonic() - began), 1.0), *start[1:]])
    print("moving", flush=True)
    time.sleep(0.01)
"""


@pytest.fixture
def twin(tmp_path):
    with TwinProcess(TWIN, log=tmp_path / "bytes.jsonl") as process:
        yield process


@pytest.fixture
def arm(twin, tmp_path):
    robot = ur5e(**twin.connection(tmp_path))
    robot.connect()
    yield robot
    robot.disconnect()


def follow(arm, target, met):
    """Sends a target until `met(state)`."""
    until = time.monotonic() + SOON_S
    while time.monotonic() < until:
        arm.send(target)
        state = arm.observe()
        if met(state):
            return state
        time.sleep(0.008)
    raise AssertionError(f"never met; last {state}")


def at(target):
    return lambda state: state.position_rad == pytest.approx(list(target), abs=2e-3)


def until_it_fails(call, kind=RobotError):
    """Calls until it raises; gives the error."""
    until = time.monotonic() + SOON_S
    while time.monotonic() < until:
        try:
            call()
        except kind as error:
            return error
        time.sleep(0.002)
    raise AssertionError("it never failed")


def until_it_works(call):
    until = time.monotonic() + SOON_S
    while True:
        try:
            return call()
        except RobotError:
            assert time.monotonic() < until, "it never worked"
        time.sleep(0.002)


def conf(name):
    return yaml.safe_load((conf_dir() / f"{name}.yaml").read_text())


def near(start, by=0.1):
    return [angle + by for angle in start]


def test_it_moves_to_a_pose_and_reads_it_back(arm, twin):
    assert twin.state()["program"] == "STOPPED"
    start = arm.arm().position_rad
    assert twin.state()["program"] == "PLAYING"
    for step in (0.1, 0.2, 0.3):
        target = near(start, step)
        assert arm.send(target) == tuple(target)
        state = follow(arm, target, at(target))
    assert twin.state()["position_rad"] == pytest.approx(list(state.position_rad), abs=2e-3)
    assert len(state.velocity_radps) == len(state.temperature_c) == 6
    assert state.torque_nm is None


def test_released_its_brakes_hold_it(arm, twin):
    arm.arm()
    before = twin.state()
    arm.release()
    after = twin.state()
    assert not any(after["torque_on"])
    assert after["program"] == "STOPPED"
    time.sleep(0.3)
    assert twin.state()["position_rad"] == pytest.approx(before["position_rad"], abs=1e-3)
    with pytest.raises(RobotError, match="released"):
        arm.send(before["position_rad"])


def test_what_is_no_number_and_what_is_out_of_range_never_reach_the_wire(arm, twin, tmp_path):
    start = arm.arm().position_rad
    for wrong in (math.nan, math.inf, -math.inf):
        with pytest.raises(RobotError, match=r"'wrist_3'.*nothing was sent"):
            arm.send([*start[:5], wrong])
    twin.place([*start[:5], MAX_RAD - 0.01])
    until_it_works(arm.arm)  # the first reading of such a jump is not believed
    assert arm.send([*start[:5], 1e9])[5] == MAX_RAD
    arm.send([*start[:5], MAX_RAD - 0.01])
    until = time.monotonic() + SOON_S
    while len(seen := list(ur_wire.targets(tmp_path / "bytes.jsonl"))) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(seen) == 2, "the log has what was sent"
    assert all(math.isfinite(angle) and abs(angle) <= MAX_RAD for target in seen for angle in target)
    assert twin.state()["safety"] == "NORMAL"


def test_the_watchdog_is_armed_before_the_first_target(arm, twin):
    start = arm.arm().position_rad
    assert twin.state()["watchdog_s"] == 1.0
    arm.send(start)
    assert twin.state()["watchdog_s"] in (0.05, 0.2)


def test_a_cut_line_is_a_lost_robot_and_every_later_call_says_so(arm, twin):
    start = arm.arm().position_rad
    arm.send(start)
    before = twin.tell(cut=True)["position_rad"]
    assert "gone" in str(until_it_fails(arm.observe, RobotLostError))
    for call in (arm.observe, lambda: arm.send(start), arm.release, arm.arm):
        with pytest.raises(RobotLostError, match="gone"):
            call()
    arm.disconnect()
    assert twin.state()["position_rad"] == pytest.approx(before, abs=0.02)


def test_a_frozen_controller_is_seen_by_its_clock_and_nothing_is_sent_until_it_is_armed_again(arm, twin, tmp_path):
    start = arm.arm().position_rad
    follow(arm, start, at(start))
    twin.freeze()
    try:
        last = arm.observe().stamp_s
        error = until_it_fails(arm.observe)
        assert "clock stands" in str(error)
        assert not isinstance(error, RobotLostError)
        assert time.monotonic() - last > STALE_S
        with pytest.raises(RobotError, match="clock stands"):
            arm.send(near(start))
    finally:
        twin.thaw()
    until_it_works(arm.observe)
    with pytest.raises(RobotError, match="Arm it again; nothing was sent"):
        arm.send(near(start))
    assert list(ur_wire.targets(tmp_path / "bytes.jsonl"))[-1] == pytest.approx(start, abs=2e-3)
    start = arm.arm().position_rad
    assert follow(arm, near(start), at(near(start)))


def test_silence_of_the_line_is_a_fault_before_it_is_a_loss(arm, twin):
    twin.tell(set={"drop": 1.0})
    error = until_it_fails(arm.observe)
    twin.tell(set={"drop": 0.0})
    assert "clock stands" in str(error)
    assert not isinstance(error, RobotLostError)


def test_corrupted_packages_give_no_impossible_reading(arm, twin):
    truth = arm.arm().position_rad
    twin.tell(set={"corrupt": 0.3})
    failed = believed = 0
    for _ in range(400):
        try:
            state = arm.observe()
            assert state.position_rad == pytest.approx(list(truth), abs=0.2)
            assert all(map(math.isfinite, (*state.position_rad, *state.velocity_radps, *state.temperature_c)))
            believed += 1
        except RobotError:
            failed += 1
        time.sleep(0.002)
    assert failed > 0, "the fault did happen"
    assert believed > failed


def test_a_killed_clients_program_ends_by_the_watchdog(twin, tmp_path):
    words = [sys.executable, "-c", CLIENT, json.dumps(twin.connection(tmp_path))]
    client = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        for _ in range(40):
            assert client.stdout.readline().strip() == "moving"
        killed = twin.state()
        assert killed["program"] == "PLAYING"
    finally:
        os.kill(client.pid, signal.SIGKILL)
        client.wait()
        client.stdout.close()
    until = time.monotonic() + SOON_S
    while (after := twin.state())["program"] == "PLAYING" and time.monotonic() < until:
        time.sleep(0.01)
    assert after["program"] == "STOPPED"
    assert "watchdog" in after["ended"]
    assert after["watchdog_s"] is not None


def test_a_rescuer_waits_for_the_watchdog_then_takes_over(arm, twin, tmp_path):
    start = arm.arm().position_rad
    arm.send(start)
    arm._control = None  # gone without a word, as a killed client is
    rescuer = ur5e(**twin.connection(tmp_path))
    rescuer.connect()
    try:
        assert rescuer.arm().position_rad == pytest.approx(list(start), abs=2e-3)
        assert rescuer.send(start)
    finally:
        rescuer.disconnect()


def test_what_the_registers_held_is_not_obeyed_when_it_is_armed_again(arm, twin):
    start = arm.arm().position_rad
    follow(arm, near(start, 0.2), at(near(start, 0.2)))
    arm.release()
    twin.place(start)
    until_it_works(arm.arm)
    time.sleep(0.2)
    assert twin.state()["position_rad"] == pytest.approx(list(start), abs=2e-3)


def test_a_protective_stop_is_reported_with_its_joint_and_never_unlocked(arm, twin):
    start = arm.arm().position_rad
    arm.send(start)
    twin.tell(overheat=["elbow", 95.0])
    error = until_it_fails(lambda: arm.send(start))
    assert "protective stop" in str(error)
    assert "'elbow', 95 deg C" in str(error)
    assert twin.state()["cause"] == "joint 'elbow': too hot"
    for call in (arm.observe, lambda: arm.send(start), arm.arm):
        with pytest.raises(RobotError, match="protective stop"):
            call()
    assert twin.state()["safety"] == "PROTECTIVE_STOP"


def test_a_stop_of_the_controller_latches_the_loop_which_then_moves_nothing(arm, twin):
    config = {**conf("robot/ur5e"), "safety": conf("safety/ur5e"), "blend_s": 0.0}
    config["fault"]["hold_s"] = 0.0
    loop = make_loop(config, arm, MonotonicClock())
    loop.arm()
    assert loop.cycle().mode is Mode.RUNNING
    before = twin.tell(emergency_stop=True)["position_rad"]
    for _ in range(20):
        cycle = loop.cycle()
        time.sleep(0.008)
    assert cycle.mode is Mode.HOLD
    assert any("emergency stop of the robot" in reason for reason in cycle.reasons)
    assert twin.state()["position_rad"] == pytest.approx(before, abs=1e-3)


def test_a_joint_that_cannot_follow_stops_it(arm, twin):
    start = arm.arm().position_rad
    arm.send(start)
    twin.tell(stall="shoulder_pan")
    target = [start[0] + 0.25, *start[1:]]
    error = until_it_fails(lambda: arm.send(target))
    assert "protective stop" in str(error)
    assert twin.state()["cause"] == "joint 'shoulder_pan': cannot follow"


def test_an_emergency_stop_is_named(arm, twin):
    start = arm.arm().position_rad
    arm.send(start)
    state = twin.tell(emergency_stop=True)
    assert not any(state["torque_on"])
    assert "emergency stop of the robot" in str(until_it_fails(lambda: arm.send(start)))


def test_a_program_that_a_person_stopped_is_a_fault(arm, twin):
    start = arm.arm().position_rad
    arm.send(start)
    arm._dashboard.stop()
    assert "program has ended" in str(until_it_fails(lambda: arm.send(start)))
    assert twin.state()["ended"] == "stopped at the dashboard"


def test_another_robot_is_refused(twin, tmp_path):
    told = twin.connection(tmp_path)
    with pytest.raises(CalibrationError, match=f"serial number {told['serial_number']}, not 20190000001"):
        ur5e(told["host"], "20190000001").connect()
    assert twin.state()["program"] == "STOPPED"


def test_a_second_master_is_refused(arm, twin, tmp_path):
    other = ur5e(**twin.connection(tmp_path))
    with pytest.raises(RobotError, match="already in use"):
        other.connect()


def test_an_address_without_a_controller_says_so():
    with pytest.raises(RobotLostError, match=r"no controller at 127\.0\.0\.1"):
        ur5e("127.0.0.1", "1").connect()


def test_its_time_can_be_moved_by_hand(tmp_path):
    with TwinProcess(TWIN, manual=True) as twin:
        arm = ur5e(**twin.connection(tmp_path), clock=VirtualClock())
        arm.connect()
        start = arm.arm().position_rad
        assert arm.send(near(start)) == tuple(near(start))
        time.sleep(0.1)
        assert twin.state()["position_rad"] == pytest.approx(list(start), abs=1e-6), "time stands"
        for _ in range(30):
            arm.send(near(start))
            twin.advance(0.02)
        assert twin.state()["position_rad"] == pytest.approx(near(start), abs=2e-3)
        arm.disconnect()


def test_the_model_has_the_makers_geometry():
    """Against the product of the Denavit-Hartenberg matrices, in the maker's base frame (x and y the other way)."""
    model = mujoco.MjModel.from_xml_path(str(sim_assets_dir() / "scenes/ur5e.xml"))
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    lengths = [0, -0.425, -0.3922, 0, 0, 0], [0.1625, 0, 0, 0.1333, 0.0997, 0.0996]
    for _ in range(20):
        data.qpos[:] = rng.uniform(-MAX_RAD, MAX_RAD, 6)
        mujoco.mj_kinematics(model, data)
        pose = np.diag([-1.0, -1.0, 1.0, 1.0])
        for q, a, d, twist in zip(data.qpos, *lengths, [np.pi / 2, 0, 0, np.pi / 2, -np.pi / 2, 0], strict=True):
            c, s, ct, st = np.cos(q), np.sin(q), np.cos(twist), np.sin(twist)
            pose = pose @ [[c, -s * ct, s * st, a * c], [s, c * ct, -c * st, a * s], [0, st, ct, d], [0, 0, 0, 1]]
        assert data.site("tool").xpos == pytest.approx(pose[:3, 3], abs=1e-9)
        assert data.site("tool").xmat == pytest.approx(pose[:3, :3].ravel(), abs=1e-9)
