"""Running moments: batch after batch the same as numpy over everything at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embodied.rl.normalizer import RunningMoments

VALUES = st.floats(-1e4, 1e4, allow_nan=False, width=32)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6).flatmap(
    lambda sizes: st.tuples(*(arrays(np.float64, (n, 3), elements=VALUES) for n in sizes))
))  # fmt: skip
def test_batches_give_the_moments_of_their_concatenation(batches):
    moments = RunningMoments((3,))
    for batch in batches:
        moments.update(batch)
    whole = np.concatenate(batches)
    # The prior counts as 1e-4 samples at 0 with variance 1.
    weight = moments.count - 1e-4
    assert weight == pytest.approx(len(whole))
    scale = np.abs(whole).max() + 1.0
    np.testing.assert_allclose(moments.mean, whole.mean(axis=0), atol=2e-4 * scale)
    np.testing.assert_allclose(moments.var, whole.var(axis=0), atol=2e-4 * scale**2)


def test_scalars_and_large_offsets_keep_their_variance():
    moments, rng = RunningMoments(()), np.random.default_rng(0)
    data = 1e6 + rng.normal(size=5000)
    moments.update(data[:1])
    for part in np.array_split(data[1:], 60):
        moments.update(part)
    late = RunningMoments(())
    late.mean, late.var, late.count = np.array(data[0]), np.array(0.0), 1.0
    for part in np.array_split(data[1:], 60):
        late.update(part)
    assert late.var == pytest.approx(data.var(), rel=1e-6)
    assert moments.mean == pytest.approx(data.mean(), rel=1e-6)


def test_a_constant_is_never_divided_by_zero():
    moments = RunningMoments((2,))
    for _ in range(50):
        moments.update(np.full((1000, 2), 3.0))
    assert (moments.std >= 1e-4).all()
    assert np.isfinite((3.0 - moments.mean) / moments.std).all()


def test_state_round_trip_is_exact():
    one, other = RunningMoments((2,)), RunningMoments((2,))
    rng = np.random.default_rng(1)
    one.update(rng.normal(size=(9, 2)))
    other.set_state(one.get_state())
    more = rng.normal(size=(4, 2))
    one.update(more)
    other.update(more)
    for key, value in one.get_state().items():
        np.testing.assert_array_equal(value, other.get_state()[key])
