"""The control loop against a twin that speaks the servos' bytes, on a clock that is moved by hand."""

import math

import numpy as np
import pytest
import sts_wire
from arms import HOME, bench, safety_config, ticks

from embodied.core.errors import ConfigError, RobotLostError
from embodied.deploy.chunks import make_chunk
from embodied.safety.faults import Mode
from embodied.safety.gate import Verdict


@pytest.fixture
def set_up(tmp_path):
    with bench(tmp_path) as (loop, twin, clock):
        loop.arm()
        yield loop, twin, clock


def sent(cycles):
    return np.array([c.sent for c in cycles])


def chunk(loop, clock, targets, number=1, observed_s=None, step_s=0.05):
    now_s = clock.now_s() if observed_s is None else observed_s
    made = make_chunk(number, now_s, step_s, targets, loop.gate.last_command)
    return loop.stream.offer(made, clock.now_s(), loop.gate.last_command)


def test_arming_holds_and_nothing_moves(set_up):
    loop, twin, clock = set_up
    cycles = ticks(loop, twin, clock, 50)
    assert np.ptp(sent(cycles), axis=0).max() == 0.0
    assert twin.state()["position_rad"] == pytest.approx(HOME, abs=0.05)


def test_soft_start_from_a_pose_one_radian_off(set_up):
    loop, twin, clock = set_up
    loop.go_to([HOME[0] + 1.0, *HOME[1:]])
    soft = ticks(loop, twin, clock, 100)
    speeds = np.abs(np.diff(sent(soft), axis=0)) / loop.gate.dt_s
    count = 2 * math.pi / 4096
    assert speeds.max() <= 0.25 + count / loop.gate.dt_s
    rest = ticks(loop, twin, clock, 300)
    assert loop.at_pose
    assert rest[-1].state.position_rad[0] == pytest.approx(HOME[0] + 1.0, abs=0.03)
    assert np.abs(np.diff(sent(rest), axis=0)).max() / loop.gate.dt_s <= 0.6 + count / loop.gate.dt_s


def test_chunks_are_followed_and_a_policy_that_stalls_is_held_softly(set_up):
    loop, twin, clock = set_up
    ticks(loop, twin, clock, 120)
    loop.follow(True)
    target, moving = list(HOME), []
    for number in range(1, 13):
        target[0] += 0.05
        chunk(loop, clock, [target], number)
        moving += ticks(loop, twin, clock, 5)
    stalled = ticks(loop, twin, clock, 60)
    everything = sent(moving + stalled)
    velocity = np.diff(everything, axis=0) / loop.gate.dt_s
    slack = 2 * math.pi / 4096 / loop.gate.dt_s
    assert np.abs(velocity).max() <= 2.0 + slack
    assert np.abs(sent(stalled)[-30:] - sent(stalled)[-1]).max() == 0.0, "standing within three policy periods"
    assert loop.machine.mode is Mode.RUNNING
    chunk(loop, clock, [target], 20)
    resumed = ticks(loop, twin, clock, 20)
    assert resumed[-1].verdict in (Verdict.PASSED, Verdict.CLAMPED)


@pytest.mark.parametrize("wild", [math.nan, math.inf, -math.inf, 1e9, -1e9])
def test_wild_actions_never_reach_the_wire(set_up, tmp_path, wild):
    loop, twin, clock = set_up
    ticks(loop, twin, clock, 120)
    loop.follow(True)
    if math.isfinite(wild):
        chunk(loop, clock, [[wild] * 6])
        ticks(loop, twin, clock, 5)
        assert loop.machine.mode is Mode.HOLD, "a target a world away is a fault"
    else:
        assert not chunk(loop, clock, [[wild] * 6])
        ticks(loop, twin, clock, 5)
        assert loop.stream.refused
    ticks(loop, twin, clock, 50)
    low, high = np.array(loop.gate.envelope.low_rad), np.array(loop.gate.envelope.high_rad)
    position = np.array(twin.state()["position_rad"])
    assert ((position >= low - 0.01) & (position <= high + 0.01)).all()
    assert position == pytest.approx(HOME, abs=0.08), "it stands where it was"


def test_ten_thousand_adversarial_targets_stay_inside_the_limits_on_the_wire(set_up, tmp_path):
    loop, rng = set_up[0], np.random.default_rng(0)
    arm, gate = loop.robot, loop.gate
    low, high = np.array(gate.envelope.low_rad), np.array(gate.envelope.high_rad)
    last = np.array(gate.last_command)
    kinds = (
        lambda: rng.uniform(-10, 10, 6),
        lambda: rng.choice([-1e9, 1e9, 0.0, np.nan, np.inf, -np.inf], 6),
        lambda: rng.choice([low, high], axis=0) + rng.normal(0, 0.01, 6),
        lambda: np.array(gate.last_command) + rng.normal(0, 0.3, 6),
        lambda: rng.uniform(-1, 1, int(rng.integers(0, 9))),
    )
    for i in range(10_000):
        target = kinds[i % len(kinds)]()
        result = gate.check(
            target, measured=gate.last_command, issued_s=0.0, now_s=0.0, torque_nm=None, temperature_c=None
        )
        if result.verdict is Verdict.FAULT:
            gate.reset(gate.last_command)
        arm.send(result.command)
    arm.observe()
    counts = {}
    for motor, count in sts_wire.goals(tmp_path / "wire.jsonl"):
        counts.setdefault(motor, []).append(count)
    assert min(map(len, counts.values())) >= 10_000
    for i, joint in enumerate(arm.joints):
        angles = [arm._scales[joint].angle(c) for c in counts[arm._ids[joint]]]
        half_count = math.pi / 4096
        assert low[i] - half_count <= min(angles) <= max(angles) <= high[i] + half_count
    assert np.abs(np.array(gate.last_command) - last).max() > 0.1, "some did pass"


def test_a_fault_holds_then_parks_then_only_a_person_goes_on(set_up):
    loop, twin, clock = set_up
    ticks(loop, twin, clock, 120)
    twin.tell(overload="elbow_flex")
    seen = [c.mode for c in ticks(loop, twin, clock, 60)]
    assert Mode.HOLD in seen
    assert any("elbow_flex" in reason for reason in loop.machine.reasons)


def test_parking_ends_where_nothing_falls(set_up):
    loop, twin, clock = set_up
    loop.machine.park(clock.now_s())
    for _ in range(3000):
        if ticks(loop, twin, clock, 1)[0].mode is Mode.PARKED:
            break
    assert loop.machine.mode is Mode.PARKED
    before = twin.state()["tool_m"]
    loop.machine.release(clock.now_s())
    loop.robot.release()
    ticks(loop, twin, clock, 200)
    after = twin.state()
    assert not any(after["torque_on"]), "the loop sends nothing that would bring the torque back"
    assert np.linalg.norm(np.array(after["tool_m"]) - before) < 0.010


def test_a_pulled_cable_ends_the_loop_with_the_fault_latched_and_the_arm_holding(set_up):
    loop, twin, clock = set_up
    ticks(loop, twin, clock, 20)
    before = twin.state()["position_rad"]
    twin.tell(cut=True)
    with pytest.raises(RobotLostError):
        ticks(loop, twin, clock, 1)
    assert loop.lost
    assert loop.machine.mode is Mode.HOLD
    for _ in range(100):
        twin.advance(0.01)
    after = twin.state()
    assert all(after["torque_on"])
    assert np.abs(np.array(after["position_rad"]) - before).max() < 0.02


def test_lost_readings_are_a_fault_once_the_last_one_is_old(set_up):
    loop, twin, clock = set_up
    ticks(loop, twin, clock, 5)
    twin.tell(set={"drop": 1.0})
    modes = [c.mode for c in ticks(loop, twin, clock, 14)]
    assert modes[:8] == [Mode.RUNNING] * 8
    assert modes[-1] is Mode.HOLD
    twin.tell(set={"drop": 0.0})
    ticks(loop, twin, clock, 5)
    assert loop.machine.mode is Mode.HOLD, "faults latch"
    loop.reset("a person")
    assert ticks(loop, twin, clock, 1)[0].mode is Mode.RUNNING


def test_the_workspace_is_braked_for(tmp_path):
    safety = safety_config()
    safety["workspace"]["high_m"][2] = 0.16
    with bench(tmp_path, safety=safety) as (loop, twin, clock):
        loop.arm()
        ticks(loop, twin, clock, 120)
        loop.go_to([0.0, -1.2, 0.0, 0.5, 0.0487, 0.6])  # up
        cycles = ticks(loop, twin, clock, 400)
        assert any(c.verdict is Verdict.HELD and "workspace" in " ".join(c.reasons) for c in cycles)
        assert twin.state()["tool_m"][2] < 0.165


def test_another_robots_envelope_is_refused(tmp_path):
    safety = safety_config()
    safety["joints"]["elbow"] = safety["joints"].pop("elbow_flex")
    with pytest.raises(ConfigError, match="so101 has shoulder_pan"), bench(tmp_path, safety=safety):
        pass
