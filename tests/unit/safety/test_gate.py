"""The gate: order, limits, braking, latching."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.core.errors import ConfigError
from embodied.safety.envelope import Envelope
from embodied.safety.gate import Gate, Verdict

DT = 0.02
BOUNDS = {
    "low_rad": -1.0,
    "high_rad": 1.0,
    "max_velocity_radps": 1.0,
    "max_acceleration_radps2": 10.0,
    "max_jump_rad": 0.6,
    "max_torque_nm": 2.0,
    "max_temperature_c": 60.0,
}


def envelope(**changes) -> Envelope:
    data = {
        "joints": {"a": {**BOUNDS}, "b": {**BOUNDS}},
        "workspace": {"low_m": [-0.5, -0.5, -0.5], "high_m": [0.5, 0.5, 0.5]},
        "keep_outs": [{"low_m": [0.2, -0.1, -0.1], "high_m": [0.3, 0.1, 0.1]}],
        "max_action_age_s": 0.1,
        "persistence_s": 0.3,
    }
    return Envelope(**{**data, **changes})


def tool(joints):
    """A point robot: its joints are its x and y [m]."""
    return (joints[0], joints[1], 0.0)


def made(**more) -> Gate:
    options = {"tool_position": None, "self_collides": None, **more}
    gate = Gate(envelope(), DT, **options)
    gate.arm([0.0, 0.0])
    return gate


def ask(gate: Gate, target, **more):
    options = {
        "measured": gate.last_command or (0.0, 0.0),
        "issued_s": 1.0,
        "now_s": 1.01,
        "torque_nm": None,
        "temperature_c": None,
    }
    return gate.check(target, **{**options, **more})


def test_a_gentle_action_passes_unchanged():
    result = ask(made(), [0.003, -0.002])
    assert (result.verdict, result.reasons) == (Verdict.PASSED, ())
    assert result.command == pytest.approx((0.003, -0.002))


def test_a_fast_one_is_limited_and_says_which_joint():
    result = ask(made(), [0.003, 0.5])
    assert result.verdict is Verdict.CLAMPED
    assert result.reasons == ("limited: b",)
    assert result.command == pytest.approx((0.003, 0.004))  # 10 rad/s^2 for 20 ms at 20 ms


@pytest.mark.parametrize(
    "target", [[math.nan, 0.0], [math.inf, 0.0], [0.0], [0.0] * 3, None, "ab", [None, 0.0], [[0.0], [0.0]], 3.0]
)
def test_what_is_not_numbers_of_the_right_count_is_held(target):
    gate = made()
    result = ask(gate, target)
    assert result.verdict is Verdict.HELD
    assert "2 finite numbers" in result.reasons[0]
    assert result.command == (0.0, 0.0)
    assert ask(gate, [0.001, 0.0]).verdict is Verdict.PASSED  # holding does not latch


@pytest.mark.parametrize("age", [0.1001, 5.0, -0.001, math.nan])
def test_a_stale_action_or_one_from_the_future_is_held(age):
    result = ask(made(), [0.001, 0.0], issued_s=1.0, now_s=1.0 + age)
    assert result.verdict is Verdict.HELD
    assert "old" in result.reasons[0]


def test_a_jump_is_a_fault_and_not_a_clamp_and_latches():
    gate = made()
    result = ask(gate, [0.0, 0.7])
    assert result.verdict is Verdict.FAULT
    assert "jump: joint 'b' wanted at 0.7000 rad" in result.reasons[0]
    assert ask(gate, [0.0, 0.0]).verdict is Verdict.FAULT
    gate.reset([0.0, 0.0])
    assert ask(gate, [0.0, 0.0]).verdict is Verdict.PASSED


def test_an_arm_that_does_not_follow_is_a_fault():
    gate = made()
    verdicts = [ask(gate, [min(1.0, 0.02 * i), 0.0], measured=(0.0, 0.0)).verdict for i in range(60)]
    assert verdicts[-1] is Verdict.FAULT


def test_an_arm_that_was_moved_by_force_is_a_fault_even_where_the_policy_goes_along():
    """The command stays where it was: sending it would throw the arm back."""
    result = ask(made(), [0.7, 0.0], measured=(0.65, 0.0))
    assert result.verdict is Verdict.FAULT
    assert "jump: joint 'a' commanded at" in result.reasons[0]


def test_an_unreadable_position_is_a_fault():
    assert ask(made(), [0.0, 0.0], measured=(math.nan, 0.0)).verdict is Verdict.FAULT


def test_stale_comes_before_jump_and_shape_before_stale():
    gate = made()
    assert "old" in ask(gate, [0.0, 0.9], now_s=9.0).reasons[0]
    assert "finite" in ask(gate, [0.0, math.nan], now_s=9.0).reasons[0]


def test_the_tool_does_not_enter_a_keep_out_nor_leave_the_workspace():
    for goal in ([0.25, 0.0], [0.9, 0.9]):
        gate = made(tool_position=tool)
        held = 0
        for _ in range(200):
            wanted = [now + max(-0.05, min(0.05, g - now)) for now, g in zip(gate.last_command, goal, strict=True)]
            result = ask(gate, wanted)
            held += result.verdict is Verdict.HELD
            assert gate.envelope.allows_tool_at(tool(result.command))
        assert held > 0
        assert "workspace" in ask(gate, [x + 0.02 for x in gate.last_command]).reasons[0]


def test_self_collision_brakes():
    gate = made(self_collides=lambda joints: joints[0] > 0.1)
    results = [ask(gate, [gate.last_command[0] + 0.02, 0.0]) for _ in range(60)]
    assert "self-collision" in results[-1].reasons[0]
    assert all(r.command[0] <= 0.1 for r in results)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.05, 0.3), st.floats(0.003, 0.2), st.floats(0.008, 0.02))
def test_no_command_is_forbidden_however_thin_the_zone(where, thick, pace):
    """The place where braking would end can be free again while the way there is not: all of it is asked."""

    def touches(joints):
        return where < joints[0] < where + thick

    gate = made(self_collides=touches)
    for _ in range(60):
        assert not touches(ask(gate, [gate.last_command[0] + pace, 0.0]).command)


@pytest.mark.parametrize(("reading", "bound"), [("torque_nm", 2.0), ("temperature_c", 60.0)])
def test_torque_and_temperature_must_persist_to_be_a_fault(reading, bound):
    gate = made()
    high, fine = [bound + 1, 0.0], [bound, 0.0]

    def at(now, values):
        return ask(gate, [0.0, 0.0], issued_s=now, now_s=now, **{reading: values}).verdict

    assert at(0.0, high) is Verdict.PASSED
    assert at(0.2, high) is Verdict.PASSED
    assert at(0.25, fine) is Verdict.PASSED  # the count begins anew
    assert at(0.3, high) is Verdict.PASSED
    assert at(0.55, high) is Verdict.PASSED
    assert at(0.61, high) is Verdict.FAULT
    assert at(9.0, fine) is Verdict.FAULT
    assert len(gate.faults) == 1
    assert "joint 'a'" in gate.faults[0]


def test_torque_counts_in_both_directions():
    gate = made()
    verdicts = [ask(gate, [0, 0], issued_s=t, now_s=t, torque_nm=[0.0, -2.1]).verdict for t in (0.0, 0.2, 0.4)]
    assert verdicts == [Verdict.PASSED, Verdict.PASSED, Verdict.FAULT]


def test_a_reset_begins_every_count_anew():
    gate = made()
    ask(gate, [0, 0], issued_s=0.0, now_s=0.0, torque_nm=[3.0, 0.0])
    gate.reset([0.0, 0.0])
    assert ask(gate, [0, 0], issued_s=5.0, now_s=5.0, torque_nm=[3.0, 0.0]).verdict is Verdict.PASSED
    assert ask(gate, [0, 0], issued_s=5.4, now_s=5.4, torque_nm=[3.0, 0.0]).verdict is Verdict.FAULT


def test_a_reading_that_is_not_finite_counts_as_too_high():
    gate = made()
    ask(gate, [0, 0], issued_s=0.0, now_s=0.0, torque_nm=[math.nan, 0])
    assert ask(gate, [0, 0], issued_s=0.4, now_s=0.4, torque_nm=[math.nan, 0]).verdict is Verdict.FAULT
    with pytest.raises(ConfigError, match="3 readings for 2 joints"):
        ask(gate, [0, 0], torque_nm=[0, 0, 0])


def test_parking_is_limited_and_allowed_while_a_fault_is_latched():
    gate = made()
    ask(gate, [0.0, 0.7])
    for _ in range(200):
        result = gate.park_step([0.3, 0.0], measured=gate.last_command)
        assert result.verdict in (Verdict.PASSED, Verdict.CLAMPED)
    assert result.command == pytest.approx((0.3, 0.0))
    assert gate.faults
    assert ask(gate, [0.0, 0.0]).verdict is Verdict.FAULT
    assert gate.park_step([0.3, 0.95], measured=gate.last_command).verdict is Verdict.FAULT
    assert len(gate.faults) == 2


def test_it_moves_nothing_before_it_is_armed_inside_its_bounds():
    gate = Gate(envelope(), DT, tool_position=None, self_collides=None)
    with pytest.raises(ConfigError, match="not armed"):
        ask(gate, [0.0, 0.0])
    with pytest.raises(ConfigError, match=r"'b' stands at 1.2000 rad, outside"):
        gate.arm([0.0, 1.2])
    with pytest.raises(ConfigError, match="2 finite numbers"):
        gate.arm([0.0, math.nan])
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(ConfigError, match="dt_s"):
            Gate(envelope(), bad, tool_position=None, self_collides=None)
    with pytest.raises(TypeError):
        Gate(envelope(), DT)  # what is not checked has to be written


wild = st.one_of(st.floats(-2, 2), st.floats(), st.sampled_from([math.nan, math.inf, -1e300]))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(wild, wild, st.floats(-0.05, 0.3)), max_size=40), st.floats(-0.4, 0.15), st.booleans())
def test_whatever_is_asked_what_comes_out_is_inside_the_envelope(stream, start, follow_slowly):
    gate = Gate(envelope(), DT, tool_position=tool, self_collides=None)
    gate.arm([start, 0.0])
    last, velocity, now = (start, 0.0), (0.0, 0.0), 0.0
    for a, b, age in stream:
        now += DT
        measured = tuple(0.9 * x for x in last) if follow_slowly else last
        result = ask(gate, [a, b], measured=measured, issued_s=now - age, now_s=now)
        speed = tuple((x - y) / DT for x, y in zip(result.command, last, strict=True))
        for x, v, u in zip(result.command, speed, velocity, strict=True):
            assert -1.0 <= x <= 1.0
            assert abs(v) <= 1.0 + 1e-9
            assert abs(v - u) <= 10.0 * DT + 1e-7
        assert -0.5 <= result.command[0] <= 0.5
        last, velocity = result.command, speed
        if gate.faults:
            gate.reset(last)
            velocity = (0.0, 0.0)
