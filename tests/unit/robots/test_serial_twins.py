"""A twin of serial servos forgets a packet whose rest does not come, as servos do: a wrong length deafens nobody."""

import pytest

from embodied.core.build import build
from robots.twin import serial

PINGS = {  # of servo 1, and where its length stands
    "robots.koch.koch_twin": (bytes.fromhex("fffffd0001030001194e"), 5),
    "robots.so101.so101_twin": (bytes.fromhex("ffff010201fb"), 3),
}


@pytest.fixture
def clock(monkeypatch):
    """The servos' clock, moved by hand."""

    class Clock:
        now_s = 100.0

        def monotonic(self):
            return self.now_s

    found = Clock()
    monkeypatch.setattr(serial, "time", found)
    return found


@pytest.mark.parametrize("twin", sorted(PINGS))
def test_a_corrupted_length_is_forgotten_after_a_silence(twin, clock):
    servos = build({"_target_": twin})
    ping, length_at = PINGS[twin]
    answer = servos.receive(ping)
    assert answer
    wrong = bytearray(ping)
    wrong[length_at] = 200
    assert servos.receive(bytes(wrong)) == b""
    clock.now_s += 2 * serial.GAP_S
    assert servos.receive(ping) == answer


@pytest.mark.parametrize("twin", sorted(PINGS))
def test_a_packet_may_arrive_in_parts(twin, clock):
    servos = build({"_target_": twin})
    ping, _ = PINGS[twin]
    answer = servos.receive(ping)
    assert servos.receive(ping[:3]) == b""
    clock.now_s += 0.5 * serial.GAP_S
    assert servos.receive(ping[3:]) == answer
