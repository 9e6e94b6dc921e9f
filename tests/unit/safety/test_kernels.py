"""The scalar and the batched kernel are one function, and what they give is always inside the bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.safety.kernels import clamped_batch, jumps, limit_batch, limit_scalar

SLACK = 1e-9
# Joint limits of -1000..1000 rad or 1e-3 s steps are far outside any robot: the properties must not hang on scale.
angles = st.floats(-1e3, 1e3, allow_nan=False)
speeds = st.floats(-50, 50, allow_nan=False)
bounds = st.one_of(st.floats(1e-3, 1e3), st.just(math.inf))


@st.composite
def cases(draw):
    n = draw(st.integers(1, 4))
    rows = {"low": [], "high": [], "max_velocity": [], "max_acceleration": [], "last": [], "velocity": []}
    for _ in range(n):
        low = draw(angles)
        high = low + draw(st.floats(1e-3, 1e3))
        rows["low"].append(low)
        rows["high"].append(high)
        rows["max_velocity"].append(draw(bounds))
        rows["max_acceleration"].append(draw(bounds))
        rows["last"].append(min(max(low + draw(st.floats(0, 1)) * (high - low), low), high))
        rows["velocity"].append(draw(speeds))
    target = [draw(st.floats(-1e6, 1e6)) for _ in range(n)]
    return target, rows, draw(st.floats(1e-3, 1.0))


def keywords(rows, dt_s, kind):
    names = ("low", "high", "max_velocity", "max_acceleration")
    return {name: kind(rows[name]) for name in names} | {"dt_s": dt_s}


@settings(max_examples=400, deadline=None)
@given(cases())
def test_scalar_and_batch_are_equal_bit_by_bit(case):
    target, rows, dt_s = case
    one = limit_scalar(target, rows["last"], rows["velocity"], **keywords(rows, dt_s, list))
    targets = np.tile(target, (3, 1))
    limited, velocity = limit_batch(
        targets, np.array(rows["last"]), np.array(rows["velocity"]), **keywords(rows, dt_s, np.array)
    )
    many = limited, velocity, clamped_batch(targets, limited)
    for a, b in zip(one, many, strict=True):
        for row in b:
            np.testing.assert_array_equal(np.array(a), row)


def test_scalar_and_batch_agree_on_a_hundred_thousand_random_commands_of_a_real_envelope():
    from embodied.core.assets import conf_dir
    from embodied.safety.envelope import load_envelope

    envelope = load_envelope(conf_dir() / "safety" / "tabletop.yaml")
    low, high = np.array(envelope.low_rad), np.array(envelope.high_rad)
    limits = {
        "max_velocity": envelope.of("max_velocity_radps"),
        "max_acceleration": envelope.of("max_acceleration_radps2"),
    }
    rng, n = np.random.default_rng(0), 100_000
    last = rng.uniform(low, high, (n, len(low)))
    velocity = rng.normal(0.0, 1.5, (n, len(low)))
    target = np.where(rng.random((n, 1)) < 0.5, last + rng.normal(0, 0.05, last.shape), rng.normal(0, 5, last.shape))
    batch = limit_batch(
        target, last, velocity, low=low, high=high, dt_s=0.01, **{k: np.array(v) for k, v in limits.items()}
    )
    scalar = {"low": envelope.low_rad, "high": envelope.high_rad, "dt_s": 0.01, **limits}
    for i in range(n):
        one = limit_scalar(target[i].tolist(), last[i].tolist(), velocity[i].tolist(), **scalar)
        assert list(one[0]) == batch[0][i].tolist()
        assert list(one[1]) == batch[1][i].tolist()


@settings(max_examples=100, deadline=None)
@given(cases())
def test_no_acceleration_limit_is_an_infinite_one(case):
    target, rows, dt_s = case
    bounds = keywords(rows, dt_s, np.array)
    bounds["max_acceleration"] = np.full(len(target), np.inf)
    last, velocity = np.array(rows["last"]), np.array(rows["velocity"])
    infinite = limit_batch(np.array(target), last, velocity, **bounds)
    none = limit_batch(np.array(target), last, velocity, **{**bounds, "max_acceleration": None})
    for a, b in zip(infinite, none, strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=400, deadline=None)
@given(cases())
def test_one_step_is_inside_limits_and_speed_whatever_came_before(case):
    target, rows, dt_s = case
    limited, velocity, _ = limit_scalar(target, rows["last"], rows["velocity"], **keywords(rows, dt_s, list))
    for j, value in enumerate(limited):
        assert rows["low"][j] <= value <= rows["high"][j]
        # Differences of angles near 1e3 carry a rounding error of 1e-13, divided by dt.
        assert abs(velocity[j]) <= rows["max_velocity"][j] * (1 + SLACK) + 1e-9 / dt_s


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.floats(-10, 10), st.sampled_from([-1e6, 1e6, 0.0])), min_size=1, max_size=60),
    st.floats(0.01, 10),
    st.floats(0.01, 100),
    st.floats(1e-3, 0.2),
    st.floats(0, 1),
)
def test_any_sequence_from_rest_keeps_position_speed_and_acceleration(targets, most_v, most_a, dt_s, start):
    low, high = -1.0, 1.5
    last, velocity = [low + start * (high - low)], [0.0]
    for target in targets:
        now, speed, _ = limit_scalar(
            [target],
            last,
            velocity,
            low=[low],
            high=[high],
            max_velocity=[most_v],
            max_acceleration=[most_a],
            dt_s=dt_s,
        )
        rounding = 1e-12 / dt_s
        assert low <= now[0] <= high
        assert abs(speed[0]) <= most_v + rounding
        assert abs(speed[0] - velocity[0]) <= most_a * dt_s + 1e-7 + rounding
        last, velocity = now, speed


@settings(max_examples=200, deadline=None)
@given(st.floats(-0.9, 1.4), st.floats(0.1, 5), st.floats(0.5, 50), st.floats(0.002, 0.1))
def test_a_constant_target_is_reached_without_running_past_the_limits(target, most_v, most_a, dt_s):
    last, velocity = [0.0], [0.0]
    steps = int(4 * (2 / most_v + most_v / most_a + 2 / math.sqrt(most_a)) / dt_s) + 2000
    for _ in range(steps):
        last, velocity, clamped = limit_scalar(
            [target],
            last,
            velocity,
            low=[-1.0],
            high=[1.5],
            max_velocity=[most_v],
            max_acceleration=[most_a],
            dt_s=dt_s,
        )
        if not clamped[0] and abs(velocity[0]) < 1e-9:
            break
    assert -1.0 <= last[0] <= 1.5


def test_a_target_within_all_bounds_passes_unchanged():
    now, speed, clamped = limit_scalar(
        [0.01], [0.0], [0.0], low=[-1], high=[1], max_velocity=[2], max_acceleration=[math.inf], dt_s=0.05
    )
    assert now == pytest.approx([0.01], abs=1e-15)
    assert speed == pytest.approx([0.2])
    assert clamped == [False]


def test_jumps_names_far_and_unreadable_joints():
    assert jumps([0.0, 1.0, 2.0], [0.0, 0.4, 2.1], [0.5, 0.5, 0.5]) == [1]
    assert jumps([math.nan, 0.0], [0.0, math.inf], [1.0, 1.0]) == [0, 1]
    assert jumps([0.5], [0.0], [0.5]) == []
