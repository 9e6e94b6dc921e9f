"""Rotations, clocks and statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from embodied.core import rotations as rot
from embodied.core.clock import Clock, MonotonicClock, VirtualClock
from embodied.core.errors import ConfigError
from embodied.core.stats import auc, wilson_interval

components = st.floats(-1, 1, allow_nan=False)
quats = (
    hnp.arrays(np.float64, (4,), elements=components).filter(lambda q: np.linalg.norm(q) > 0.1).map(rot.quat_normalize)
)
vectors = hnp.arrays(np.float64, (3,), elements=components)


@settings(max_examples=100)
@given(quats, quats, vectors)
def test_products_matrices_and_rotations_agree(a, b, v):
    np.testing.assert_allclose(
        rot.quat_to_matrix(rot.quat_multiply(a, b)), rot.quat_to_matrix(a) @ rot.quat_to_matrix(b), atol=1e-12
    )
    np.testing.assert_allclose(rot.quat_rotate(a, v), rot.quat_to_matrix(a) @ v, atol=1e-12)
    np.testing.assert_allclose(rot.quat_rotate(rot.quat_conjugate(a), rot.quat_rotate(a, v)), v, atol=1e-12)


@settings(max_examples=100)
@given(quats)
def test_matrix_and_six_numbers_give_the_rotation_back(q):
    matrix = rot.quat_to_matrix(q)
    again = rot.matrix_to_quat(matrix)
    assert again[0] >= 0
    assert min(np.abs(again - q).max(), np.abs(again + q).max()) < 1e-9
    np.testing.assert_allclose(rot.matrix_from_6d(rot.matrix_to_6d(matrix)), matrix, atol=1e-12)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


@settings(max_examples=100)
@given(vectors, st.floats(-math.pi, math.pi))
def test_axis_and_angle_come_back(axis, angle):
    assume(np.linalg.norm(axis) > 0.1)
    vector = rot.quat_to_rotation_vector(rot.quat_from_axis_angle(axis, angle))
    assert np.linalg.norm(vector) == pytest.approx(abs(angle), abs=1e-7)
    identity = np.array([1.0, 0, 0, 0])
    assert rot.quat_angle(identity, rot.quat_from_axis_angle(axis, angle)) == pytest.approx(abs(angle), abs=1e-7)


def test_they_are_batched_and_agree_with_mujoco():
    mujoco = pytest.importorskip("mujoco")
    rng = np.random.default_rng(0)
    a, b = (rot.quat_normalize(rng.normal(size=(5, 2, 4))) for _ in range(2))
    product, matrices = rot.quat_multiply(a, b), rot.quat_to_matrix(a)
    assert rot.quat_angle(a, b).shape == (5, 2)
    for i in np.ndindex(5, 2):
        want, flat = np.empty(4), np.empty(9)
        mujoco.mju_mulQuat(want, a[i], b[i])
        mujoco.mju_quat2Mat(flat, a[i])
        np.testing.assert_allclose(product[i], want, atol=1e-12)
        np.testing.assert_allclose(matrices[i].ravel(), flat, atol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(rot.matrix_to_quat(matrices) * a, axis=-1)), np.ones((5, 2)), atol=1e-12)


def test_a_quaternion_of_no_length_is_the_identity():
    np.testing.assert_array_equal(rot.quat_normalize(np.zeros(4)), [1, 0, 0, 0])


def test_the_virtual_clock_moves_when_told():
    clock = VirtualClock(5.0)
    assert isinstance(clock, Clock)
    clock.sleep_until_s(7.0)
    clock.sleep_until_s(6.0)
    assert clock.now_s() == 7.0
    clock.advance_s(0.5)
    assert clock.now_s() == 7.5
    for bad in (-1.0, math.nan):
        with pytest.raises(ConfigError):
            clock.advance_s(bad)


def test_the_real_clock_waits_at_least_as_long_as_told():
    clock = MonotonicClock()
    until = clock.now_s() + 0.01
    clock.sleep_until_s(until)
    assert clock.now_s() >= until
    clock.sleep_until_s(until - 1)


@given(st.integers(0, 200), st.integers(0, 200))
def test_wilsons_interval_holds_the_rate(successes, failures):
    trials = successes + failures
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= high <= 1
    if trials:
        assert low - 1e-12 <= successes / trials <= high + 1e-12
        wider = wilson_interval(successes, trials, 2.58)
        assert wider[0] <= low
        assert wider[1] >= high


def test_wilsons_interval_is_the_published_one():
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


@given(st.lists(st.integers(-5, 5), min_size=1), st.lists(st.integers(-5, 5), min_size=1))
def test_auc_is_the_chance_of_ranking_right(good, bad):
    value = auc(np.array(good), np.array(bad))
    assert value == pytest.approx(1 - auc(np.array(bad), np.array(good)))
    assert 0 <= value <= 1
    assert auc(np.array(good) + 100, np.array(bad)) == 1
