"""The driver of a Franka, by pylibfranka's own bytes against the public franka-sim (`make franka-twin`)."""

import math
import os
import signal
import subprocess
import sys
import time

import pytest

from embodied.core.errors import ConfigError, RobotError, RobotLostError
from robots.franka import HIGH_RAD, LOW_RAD, fr3, fr3_twin
from robots.twin.process import TwinProcess

HOME = [0.0, -0.4, 0.0, -1.9, 0.0, 1.5, 0.785]


@pytest.fixture
def twin(tmp_path):
    with TwinProcess({"_target_": "robots.franka.fr3_twin"}, log=tmp_path / "server.log", priority=40) as process:
        yield process


@pytest.fixture
def arm(twin, tmp_path):
    driver = fr3(**twin.connection(tmp_path))
    driver.connect()
    yield driver
    driver.disconnect()


def wait_for(met, why, most_s=5.0):
    until_s = time.monotonic() + most_s
    while not met():
        assert time.monotonic() < until_s, why
        time.sleep(0.005)


def lead(driver, target, seconds=2.0):
    """Targets at 100 Hz, in a straight line from where it stands."""
    start = driver.observe().position_rad
    for k in range(1, round(100 * seconds) + 1):
        share = 0.5 - 0.5 * math.cos(math.pi * min(1.0, k / (100 * seconds)))
        driver.send([a + share * (b - a) for a, b in zip(start, target, strict=True)])
        time.sleep(0.01)


def test_it_goes_where_it_is_sent_without_losing_the_controller_s_trust(arm, twin):
    arm.arm()
    lead(arm, HOME)
    wait_for(lambda: max(abs(a - b) for a, b in zip(twin.state()["position_rad"], HOME, strict=True)) < 0.02, "there")
    assert arm.observe().position_rad == pytest.approx(twin.state()["position_rad"], abs=1e-3)
    told = arm.statistics()
    assert told["success"] > 0.5
    assert told["cycles"] > 1000
    arm.release()
    assert not any(twin.state()["torque_on"])


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_sent(arm, twin, wrong):
    start = list(arm.arm().position_rad)
    goal = twin.state()["goal_rad"]
    with pytest.raises(RobotError, match=r"'fr3_joint3'.*nothing was sent"):
        arm.send([*start[:2], wrong, *start[3:]])
    with pytest.raises(ConfigError, match="6 targets for 7 joints"):
        arm.send(start[:6])
    assert twin.state()["goal_rad"] == pytest.approx(goal, abs=1e-3)


def test_a_jump_becomes_a_motion_that_the_controller_takes(arm, twin):
    start = list(arm.arm().position_rad)
    target = [start[0] + 0.5, *start[1:]]
    arm.send(target)
    wait_for(lambda: abs(twin.state()["position_rad"][0] - target[0]) < 0.01, "it did not arrive")
    assert arm.observe().position_rad == pytest.approx(target, abs=0.02)


def test_targets_end_at_the_controller_s_own_range(arm):
    arm.arm()
    assert arm.send([9.0] * 7) == HIGH_RAD
    assert arm.send([-9.0] * 7) == LOW_RAD
    arm.send(arm.observe().position_rad)


def test_a_loop_that_stands_still_is_a_reflex_with_its_name_and_nothing_goes_on_unasked(twin, tmp_path):
    driver = fr3(**twin.connection(tmp_path))
    driver.connect()
    start = driver.arm().position_rad
    os.kill(driver._process.pid, signal.SIGSTOP)
    time.sleep(0.2)
    os.kill(driver._process.pid, signal.SIGCONT)
    found = []
    wait_for(lambda: _reflex(driver, found), "no reflex")
    assert "communication_constraints_violation" in found[-1]
    with pytest.raises(RobotError, match="communication_constraints_violation"):
        driver.send(start)
    with pytest.raises(RobotError, match="recover=true"):
        driver.arm()
    driver.disconnect()
    second = fr3(**twin.connection(tmp_path), recover=True)
    second.connect()
    second.arm()
    assert second.send(start) == tuple(start)
    second.disconnect()


def _reflex(driver, found):
    try:
        driver.observe()
    except RobotError as error:
        found.append(str(error))
    return any("communication" in text for text in found)


def test_an_owner_that_is_killed_leaves_an_arm_that_brakes_and_a_controller_at_peace(twin, tmp_path):
    code = (
        "import sys, time\nfrom robots.franka import fr3\n"
        "d = fr3(sys.argv[1]); d.connect(); q = list(d.arm().position_rad)\n"
        "for k in range(10_000): q[0] += 0.003; d.send(q); print(k, flush=True); time.sleep(0.01)"
    )
    host = twin.connection(tmp_path)["host"]
    owner = subprocess.Popen([sys.executable, "-c", code, host], stdout=subprocess.PIPE, text=True)
    while int(owner.stdout.readline()) < 50:
        pass
    owner.kill()
    owner.wait()
    killed_at = twin.state()["position_rad"][0]
    wait_for(lambda: not any(twin.state()["torque_on"]), "the motion was not ended")
    # At 0.3 rad/s: a lag of 0.007 rad, 0.006 rad of braking, and what passes until the killing is read.
    assert abs(twin.state()["position_rad"][0] - killed_at) < 0.05
    driver = fr3(host)
    driver.connect()
    driver.arm()  # no reflex: it would refuse
    driver.disconnect()


def test_a_frozen_controller_is_silent_and_nothing_is_sent_until_it_is_armed_again(arm, twin):
    start = arm.arm().position_rad
    twin.freeze()
    with pytest.raises(RobotError, match="silent since"):
        wait_for(lambda: arm.observe() is None, "it was not noticed", 1.0)
    twin.thaw()
    with pytest.raises(RobotError, match=r"nothing was sent|silent|stopped"):
        arm.send(start)


@pytest.mark.parametrize("end", ["cut", "kill"])
def test_a_connection_that_ends_is_lost(arm, twin, end):
    start = arm.arm().position_rad
    if end == "cut":
        twin.tell(cut=True)
    else:
        os.kill(twin.pid, signal.SIGKILL)
    with pytest.raises(RobotLostError, match="is gone"):
        wait_for(lambda: _ended(arm), "it was not noticed", 5.0)
    with pytest.raises(RobotLostError):
        arm.send(start)
    arm.disconnect()
    arm.disconnect()


def _ended(driver):
    try:
        driver.observe()
    except RobotLostError:
        raise
    except RobotError:
        return False  # silent first
    return False


def test_closing_in_the_middle_of_a_motion_ends_it_in_order(twin, tmp_path):
    host = twin.connection(tmp_path)
    driver = fr3(**host)
    driver.connect()
    start = list(driver.arm().position_rad)
    driver.send([start[0] + 0.4, *start[1:]])
    time.sleep(0.1)
    driver.disconnect()
    assert not any(twin.state()["torque_on"])
    driver.connect()
    driver.arm()  # no reflex
    driver.disconnect()


def test_without_its_server_the_twin_says_how_to_have_it(monkeypatch, tmp_path):
    monkeypatch.setenv("FRANKA_SIM_PYTHON", str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match=r"make franka-twin"):
        fr3_twin()


def test_nobody_at_the_address_is_lost():
    with pytest.raises(RobotLostError, match=r"127\.0\.3\.77"):
        fr3("127.0.3.77").connect()
