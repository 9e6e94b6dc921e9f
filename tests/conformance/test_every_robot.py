"""Every robot that `conf/robot/` gives a driver: its contract, against its own twin."""

import pytest
import yaml

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.clock import VirtualClock
from embodied.core.errors import RobotLostError
from embodied.core.robot import Robot, RobotState
from embodied.deploy.opening import NEEDED, start_twin

CONF = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((conf_dir() / "robot").glob("*.yaml"))}
WITH_DRIVER = [name for name, robot in CONF.items() if "driver" in robot]


@pytest.fixture(params=WITH_DRIVER)
def robot(request, tmp_path):
    """`(driver, twin)`, not connected."""
    config = CONF[request.param]
    connection, twin = start_twin(config, tmp_path, manual=True)
    with twin:
        driver = build(config["driver"], **connection, clock=VirtualClock())
        yield driver, twin
        driver.disconnect()


def test_the_yaml_has_all_that_a_deployment_needs():
    for name in WITH_DRIVER:
        assert not [key for key in NEEDED if key not in CONF[name]], name
        assert len(CONF[name]["motion"]["park_rad"]) == len(CONF[name]["home_rad"])


def test_it_is_a_robot_whose_features_are_known_before_connecting(robot):
    driver, _ = robot
    assert isinstance(driver, Robot)
    assert [f"{joint}.pos" for joint in driver.joints] == list(driver.observation_features)
    assert len(set(driver.joints)) == len(driver.joints)


def test_unconnected_it_is_lost_and_disconnecting_is_silent(robot):
    driver, _ = robot
    with pytest.raises(RobotLostError):
        driver.observe()
    driver.disconnect()
    driver.disconnect()


def test_connecting_moves_nothing_arming_holds_sending_says_what_was_sent_releasing_frees(robot):
    driver, twin = robot
    driver.connect()
    assert not any(twin.state()["torque_on"])
    state = driver.arm()
    assert isinstance(state, RobotState)
    assert all(twin.advance(0.05)["torque_on"])
    assert twin.state()["position_rad"] == pytest.approx(list(state.position_rad), abs=0.05)
    target = [angle + 0.05 for angle in state.position_rad]
    sent = driver.send(target)
    assert sent == pytest.approx(target, abs=0.01)
    for _ in range(20):  # a robot may stop by itself when its master is silent
        driver.send(target)
        driver.observe()
        twin.advance(0.05)
    assert driver.observe().position_rad == pytest.approx(target, abs=0.03)
    driver.release()
    assert not any(twin.state()["torque_on"])


def test_a_second_connection_works_after_the_first(robot):
    driver, _ = robot
    driver.connect()
    first = driver.observe().position_rad
    driver.disconnect()
    driver.connect()
    assert driver.observe().position_rad == pytest.approx(first, abs=0.05)
