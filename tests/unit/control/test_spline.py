"""Splines: weights that sum to one, pass through the knots, and shift in time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.control.spline import KINDS, basis, shift_basis, step_basis
from embodied.core.errors import UnknownNameError

kinds = st.sampled_from(KINDS)


@given(kinds, st.integers(1, 9), st.lists(st.floats(-3, 12), min_size=1, max_size=20))
def test_weights_sum_to_one(kind, n_knots, positions):
    np.testing.assert_allclose(basis(np.array(positions), n_knots, kind).sum(axis=1), 1.0, atol=1e-9)


@given(kinds, st.integers(1, 9))
def test_a_plan_passes_through_its_knots(kind, n_knots):
    np.testing.assert_allclose(basis(np.arange(n_knots), n_knots, kind), np.eye(n_knots), atol=1e-12)


@given(kinds, st.integers(2, 6), st.integers(6, 40))
def test_ends_of_the_horizon_are_the_end_knots(kind, n_knots, n_steps):
    weights = step_basis(n_knots, n_steps, kind)
    np.testing.assert_allclose(weights[[0, -1]], np.eye(n_knots)[[0, -1]], atol=1e-12)


@given(st.integers(2, 6), st.integers(1, 4), st.floats(0, 1))
def test_a_straight_line_shifted_is_the_same_line_later(n_knots, per_knot, share):
    n_steps = (n_knots - 1) * per_knot + 1
    elapsed = share * (n_steps - 1)
    line = np.arange(n_knots, dtype=float)
    shifted = shift_basis(n_knots, n_steps, "linear", elapsed) @ line
    np.testing.assert_allclose(shifted, np.minimum(line + elapsed / per_knot, n_knots - 1), atol=1e-9)


def test_an_unknown_kind_names_the_known_ones():
    with pytest.raises(UnknownNameError, match="linear"):
        basis(np.zeros(1), 3, "linaer")
