"""hold -> park -> release: torque goes off only after parking, and only a person resets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.core.clock import VirtualClock
from embodied.core.errors import ConfigError
from embodied.safety.faults import FaultMachine, Mode


def made() -> FaultMachine:
    return FaultMachine(hold_s=1.0, park_timeout_s=5.0)


def test_the_whole_way():
    machine, clock = made(), VirtualClock()
    assert machine.tick(clock.now_s(), at_park_pose=False) is Mode.RUNNING
    machine.fault("jump", clock.now_s())
    assert machine.mode is Mode.HOLD
    clock.advance_s(0.5)
    assert machine.tick(clock.now_s(), at_park_pose=True) is Mode.HOLD
    clock.advance_s(0.5)
    assert machine.tick(clock.now_s(), at_park_pose=False) is Mode.PARKING
    with pytest.raises(ConfigError, match="would fall"):
        machine.release(clock.now_s())
    assert machine.tick(clock.now_s(), at_park_pose=True) is Mode.PARKED
    assert machine.torque_on
    machine.release(clock.now_s())
    assert not machine.torque_on
    machine.reset("Ada", clock.now_s())
    assert (machine.mode, machine.reasons) == (Mode.RUNNING, ())
    assert [mode for _, mode, _ in machine.history] == [
        Mode.HOLD,
        Mode.PARKING,
        Mode.PARKED,
        Mode.RELEASED,
        Mode.RUNNING,
    ]


def test_parking_that_takes_too_long_ends_in_a_hold_that_stays():
    machine = made()
    machine.park(0.0)
    assert machine.tick(5.0, at_park_pose=False) is Mode.HOLD
    assert "longer than 5.0 s" in machine.reasons[-1]
    assert machine.tick(100.0, at_park_pose=False) is Mode.HOLD
    machine.park(101.0)
    assert machine.tick(101.0, at_park_pose=True) is Mode.PARKED


def test_a_fault_while_parking_stops_it():
    machine = made()
    machine.park(0.0)
    machine.fault("jump", 0.1)
    assert machine.tick(99.0, at_park_pose=False) is Mode.HOLD


def test_a_reset_has_a_name_and_is_not_for_moving_robots():
    machine = made()
    machine.fault("jump", 0.0)
    with pytest.raises(ConfigError, match="name of the person"):
        machine.reset(" ", 0.0)
    machine.park(0.0)
    with pytest.raises(ConfigError, match="while parking"):
        machine.reset("Ada", 0.0)
    with pytest.raises(ConfigError, match="cannot park while parking"):
        machine.park(0.0)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_times_are_checked(bad):
    with pytest.raises(ConfigError, match="hold_s"):
        FaultMachine(hold_s=bad, park_timeout_s=1.0)


commands = st.one_of(
    st.tuples(st.just("tick"), st.floats(0, 3), st.booleans()),
    st.tuples(st.sampled_from(["fault", "park", "release", "reset"]), st.just(0.0), st.just(False)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(commands, max_size=40))
def test_whatever_is_done_torque_goes_off_only_from_parked_and_faults_stay(script):
    machine, now = made(), 0.0
    for what, wait, at_pose in script:
        before, known = machine.mode, machine.reasons
        now += wait
        try:
            match what:
                case "tick":
                    machine.tick(now, at_park_pose=at_pose)
                case "fault":
                    machine.fault(f"fault at {now}", now)
                case "reset":
                    machine.reset("Ada", now)
                case "park":
                    machine.park(now)
                case "release":
                    machine.release(now)
        except ConfigError:
            assert machine.mode is before
        if machine.mode is Mode.RELEASED and before is not Mode.RELEASED:
            assert before is Mode.PARKED
        if what != "reset":
            assert machine.reasons[: len(known)] == known
            assert machine.mode is not Mode.RUNNING or before is Mode.RUNNING
