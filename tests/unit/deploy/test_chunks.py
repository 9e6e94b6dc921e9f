"""Chunks: order, age and shape; targets without steps."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.core.errors import ConfigError
from embodied.deploy.chunks import ChunkStream, make_chunk


def stream(**given):
    return ChunkStream(2, **({"max_age_s": 0.2} | given))


def test_rows_are_reached_at_their_times_and_linear_between():
    s = stream()
    assert s.target(0.0) is None
    assert s.offer(make_chunk(1, 10.0, 0.1, [[1.0, 0.0], [2.0, 4.0]], [0.0, 0.0]), 10.0, (0.0, 0.0))
    for at, wanted in ((10.0, (0, 0)), (10.05, (0.5, 0)), (10.1, (1, 0)), (10.15, (1.5, 2)), (10.2, (2, 4))):
        assert s.target(at)[0] == pytest.approx(wanted)
    assert s.target(12.0)[0] == (2.0, 4.0)


def test_after_its_end_a_chunk_ages():
    s = stream()
    s.offer(make_chunk(1, 10.0, 0.1, [[1.0, 1.0]], [0.0, 0.0]), 10.0, (0.0, 0.0))
    assert s.target(10.05)[1] == pytest.approx(10.05)
    assert s.target(10.8)[1] == pytest.approx(10.1)


def test_what_is_late_out_of_order_or_malformed_is_refused_and_counted():
    s = stream()
    good = {"step_s": 0.1, "targets": [[1.0, 1.0]], "start": [0.0, 0.0]}
    assert s.offer(make_chunk(5, 10.0, **good), 10.0, (0.0, 0.0))
    assert not s.offer(make_chunk(5, 10.1, **good), 10.1, (0.0, 0.0))
    assert not s.offer(make_chunk(4, 10.1, **good), 10.1, (0.0, 0.0))
    assert not s.offer(make_chunk(6, 10.0, **good), 10.3, (0.0, 0.0))
    assert not s.offer(make_chunk(7, 3600.0, **good), 10.3, (0.0, 0.0))
    assert not s.offer(make_chunk(8, 10.3, 0.1, [[1.0, math.nan]], [0.0, 0.0]), 10.3, (0.0, 0.0))
    assert not s.offer(make_chunk(9, 10.3, 0.1, [[1.0]], [0.0, 0.0]), 10.3, (0.0, 0.0))
    assert not s.offer(make_chunk(9, 10.3, 0.1, [], [0.0, 0.0]), 10.3, (0.0, 0.0))
    assert sum(s.refused.values()) == 7
    assert s.target(10.1)[0] == pytest.approx((1.0, 1.0)), "the good one stays"


@given(
    last=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    new=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    late_s=st.floats(0.0, 0.19),
)
def test_a_new_chunk_begins_at_the_last_command(last, new, late_s):
    s = stream(blend_s=0.3)
    s.offer(make_chunk(1, 10.0, 0.1, [new, new], new), 10.0 + late_s, last)
    assert s.target(10.0 + late_s)[0] == pytest.approx(last, abs=1e-9)
    before = last
    for k in range(1, 40):
        now = s.target(10.0 + late_s + 0.01 * k)[0]
        assert all(abs(a - b) <= 4.0 * 0.01 / 0.3 + 1e-9 for a, b in zip(now, before, strict=True)), "no step"
        before = now
    assert before == pytest.approx(new)


def test_a_step_of_no_length_is_refused():
    with pytest.raises(ConfigError, match="step_s"):
        make_chunk(1, 0.0, 0.0, [[1.0]], [0.0])
