"""One twin is moved by hand, another follows it."""

import numpy as np
import pytest
from arms import HOME, bench, robot_config, ticks

from embodied.core.clock import VirtualClock
from embodied.core.errors import ConfigError, RobotError
from embodied.data import doctor
from embodied.data.dataset import Dataset
from embodied.deploy.opening import start_twin
from embodied.deploy.recording import record_cycles
from embodied.deploy.teleop import follow_leader
from robots.so101 import so101


@pytest.fixture
def pair(tmp_path):
    """`(loop, twin, clock, leader, leader's twin)`."""
    connection, leading = start_twin(robot_config(), tmp_path / "leader", manual=True)
    leader = so101(connection["port"], connection["calibration"], VirtualClock())
    leader.connect()
    with bench(tmp_path) as (loop, twin, clock), leading:
        loop.arm()
        ticks(loop, twin, clock, 120)
        yield loop, twin, clock, leader, leading
        leader.disconnect()


def played(pair, poses, cycles=None):
    """The follower's motion while the leader is put through `poses`, one a control period."""
    loop, twin, clock, leader, leading = pair
    at = iter(poses)

    def next_period():
        pose = next(at, None)
        if pose is not None:
            leading.place(pose)
            leading.advance(loop.gate.dt_s)
        twin.advance(loop.gate.dt_s)
        clock.advance_s(loop.gate.dt_s)

    return follow_leader(
        loop,
        leader,
        next_period,
        seconds=len(poses) * loop.gate.dt_s,
        on_cycle=([] if cycles is None else cycles).append,
    )


def test_the_follower_does_what_the_leader_does(pair):
    twin, leading, cycles = pair[1], pair[4], []
    shares = np.concatenate([np.linspace(0, 1, 150), np.ones(60)])
    goal = np.array([0.6, -0.5, 0.7, 1.0, 0.4, 1.2])
    leading.place(HOME)
    poses = [np.array(HOME) + s * (goal - np.array(HOME)) for s in shares]
    assert played(pair, poses, cycles) == 0
    assert twin.state()["position_rad"] == pytest.approx(goal, abs=0.06)
    assert len(cycles) == len(poses)


def test_a_leader_that_starts_far_away_is_approached_slowly(pair):
    twin, leading, cycles = pair[1], pair[4], []
    far = [1.0, *HOME[1:]]
    leading.place(far)
    leading.advance(0.01)
    played(pair, [far] * 30, cycles)
    assert twin.state()["position_rad"][0] == pytest.approx(1.0, abs=0.06)
    sent = np.array([c.sent for c in cycles])
    assert np.abs(np.diff(sent, axis=0)).max() < 0.01, "it was there before it began to follow"


def test_a_leader_that_jumps_is_a_fault_and_not_a_motion(pair):
    twin, leading = pair[1], pair[4]
    leading.place(HOME)
    with pytest.raises(RobotError, match="jump: joint 'shoulder_pan'"):
        played(pair, [HOME] * 5 + [[1.5, *HOME[1:]]] * 60)
    assert abs(twin.state()["position_rad"][0] - HOME[0]) < 0.1


def test_a_silent_leader_is_held_for(pair):
    loop, twin, leading = pair[0], pair[1], pair[4]
    leading.place(HOME)
    leading.tell(set={"drop": 1.0})
    with pytest.raises(RobotError):
        played(pair, [HOME] * 30)
    assert twin.state()["position_rad"] == pytest.approx(HOME, abs=0.06)
    assert loop.gate.faults == ()


def test_another_robot_cannot_lead(pair):
    loop, _, _, leader, _ = pair
    leader.joints = tuple(reversed(leader.joints))
    with pytest.raises(ConfigError, match="in that order"):
        follow_leader(loop, leader, lambda: None, seconds=0.1)


def test_a_motion_becomes_an_episode(pair, tmp_path):
    loop, cycles = pair[0], []
    played(pair, [np.array(HOME)] * 40, cycles)
    settings = {"rate_hz": 1.0 / loop.gate.dt_s, "instruction": "Stay.", "robot_type": "so101"}
    for expected in (0, 1):
        assert record_cycles(tmp_path / "d", cycles, loop.robot.joints, **settings) == expected
    dataset = Dataset(tmp_path / "d")
    assert not [f for f in doctor.examine(tmp_path / "d") if f.level == "error"]
    assert dataset.tasks == ["Stay."]
    assert dataset.features["action"].names[0] == f"{loop.robot.joints[0]}.pos"
    assert np.allclose(dataset.column("action")[: len(cycles)], [c.sent for c in cycles], atol=1e-6)
    measured = [c.state.position_rad for c in cycles]
    assert np.allclose(dataset.column("observation.state")[: len(cycles)], measured, atol=1e-6)
    with pytest.raises(ConfigError, match="no control period"):
        record_cycles(tmp_path / "d", [], loop.robot.joints, **settings)
