"""Streams of targets: whatever comes, the command keeps its bounds; what is asked for is reached."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robots.franka_loop import MAX_ACCELERATION_RADPS2, MAX_SPEED_RADPS, SHARE
from robots.smooth import SmoothStream

DT, MAX_JERK_RADPS3 = 0.001, 5000.0  # data sheet
SPEED = 2.0
TARGETS = st.lists(st.tuples(st.floats(-3, 3), st.floats(0.001, 0.05), st.integers(0, 80)), min_size=1, max_size=12)


def played(stream, orders):
    """Commands of all cycles `(T, J)`: each target, the time to reach it, and for how many cycles it stands."""
    path = [stream.step()]
    for target, over_s, cycles in orders:
        stream.aim(target, over_s)
        path += [stream.step() for _ in range(cycles)]
    return path


def assert_bounds(path, start, speed, acceleration):
    path = np.vstack([[start] * 4, path])
    velocity, change, jerk = (np.abs(np.diff(path, n, axis=0)) / DT**n for n in (1, 2, 3))
    assert (velocity <= np.asarray(speed) * (1 + 1e-9)).all()
    assert (change <= acceleration * (1 + 1e-6)).all()
    assert (jerk <= MAX_JERK_RADPS3).all()


@settings(max_examples=200, deadline=None)
@given(TARGETS, st.booleans())
def test_any_targets_keep_speed_acceleration_and_jerk_bounded(targets, brake):
    stream = SmoothStream([0.3], [SPEED], 8.0)
    path = played(stream, [([t], over_s, n) for t, over_s, n in targets])
    if brake:
        stream.brake()
    path += [stream.step() for _ in range(400)]
    assert_bounds(path, [0.3], [SPEED], 8.0)


@settings(max_examples=50, deadline=None)
@given(TARGETS)
def test_it_comes_to_rest_exactly_at_the_last_target(targets):
    stream = SmoothStream([0.3], [SPEED], 8.0)
    played(stream, [([t], over_s, n) for t, over_s, n in targets])
    cycles = 0
    while not stream.still:
        stream.step()
        cycles += 1
        assert cycles < 8000  # 6 rad at 2 rad/s, starting and braking
    assert stream.step() == pytest.approx([targets[-1][0]], abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(TARGETS)
def test_braking_ends_within_the_way_that_the_speed_needs(targets):
    stream = SmoothStream([0.0], [SPEED], 8.0)
    path = played(stream, [([t], over_s, n) for t, over_s, n in targets])
    braked_at = len(path) - 1
    stream.brake()
    while not stream.still:
        path.append(stream.step())
        assert len(path) < 6000
    lag = 3 * 0.004 * SPEED
    assert abs(path[-1][0] - path[braked_at][0]) <= SPEED**2 / (2 * 0.8 * 8.0) + lag


@pytest.mark.parametrize("period_s", [0.002, 0.005, 0.01, 0.02])
def test_steady_motion_stays_steady_at_any_rate_of_targets(period_s):
    stream, path = SmoothStream([0.0], [SPEED], 8.0), []
    for k in range(1, round(1.0 / period_s)):
        t = k * period_s
        stream.aim([0.25 * t * t if t < 0.5 else 0.25 * t - 0.0625], period_s)  # to 0.25 rad/s, then on
        path += [stream.step() for _ in range(round(period_s / DT))]
    speed = np.diff(path, axis=0)[-200:] / DT
    assert speed == pytest.approx(0.25, abs=1e-3)


def test_a_franka_s_own_bounds_leave_room_to_its_data_sheet():
    stream = SmoothStream([0.0] * 7, [SHARE * v for v in MAX_SPEED_RADPS], SHARE * MAX_ACCELERATION_RADPS2)
    path = played(stream, [([1.0] * 7, 0.001, 150), ([-1.0] * 7, 0.001, 400), ([0.5] * 7, 0.001, 3000)])
    assert_bounds(path, [0.0] * 7, MAX_SPEED_RADPS, MAX_ACCELERATION_RADPS2)
    assert path[-1] == pytest.approx([0.5] * 7, abs=1e-5)
