"""Deadlines are absolute, missed ones are counted and never caught up."""

import pytest

from embodied.core.clock import VirtualClock
from embodied.core.errors import ConfigError
from embodied.deploy.pacer import Pacer


def test_a_loop_on_time_keeps_its_rhythm():
    clock = VirtualClock(5.0)
    pacer = Pacer(100.0, clock)
    for k in range(1, 101):
        clock.advance_s(0.004)
        assert pacer.wait() == pytest.approx(0.0, abs=1e-9)
        assert clock.now_s() == pytest.approx(5.0 + 0.01 * k)
    assert pacer.missed == 0


@pytest.mark.parametrize(("busy_s", "missed"), [(0.009, 0), (0.0199, 0), (0.0201, 1), (0.0551, 4), (1.0, 99)])
def test_a_slow_cycle_costs_exactly_the_deadlines_that_went_by(busy_s, missed):
    clock = VirtualClock()
    pacer = Pacer(100.0, clock)
    clock.advance_s(busy_s)
    pacer.wait()
    assert pacer.missed == missed
    before = clock.now_s()
    clock.advance_s(0.001)
    pacer.wait()
    assert 0.0 < clock.now_s() - before <= 0.01 + 1e-9, "no burst of cycles after it"


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ConfigError, match="rate_hz"):
        Pacer(rate, VirtualClock())
