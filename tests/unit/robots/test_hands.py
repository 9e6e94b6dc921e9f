"""Keys and sticks as velocities; silence, and a device that goes away."""

import struct
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pads import Pad, Terminal, hand_of

from embodied.core.errors import ConfigError, InputLostError, UnknownNameError
from embodied.core.hand import AXES, STILL
from robots.gamepad import Gamepad
from robots.keyboard import Keyboard

SHARES = dict.fromkeys(AXES, 0.0)


def shares(**moved):
    return tuple({**SHARES, **moved}.values())


@pytest.fixture
def keys():
    terminal = Terminal()
    hand, _ = hand_of("keyboard", device=terminal.device)
    hand.connect()
    yield hand, terminal
    hand.disconnect()
    terminal.hang_up()


@pytest.fixture
def pad(tmp_path):
    made = Pad(tmp_path)
    hand, _ = hand_of("gamepad", device=made.device)
    hand.connect()
    yield hand, made
    hand.disconnect()
    made.unplug()


def test_a_key_moves_while_it_repeats_and_stops_soon_after(keys):
    hand, terminal = keys
    assert hand.read(0.0).velocity == STILL
    for now_s in (0.0, 0.03, 0.06):
        terminal.type("w")
        assert hand.read(now_s).velocity == shares(x=1.0)
    assert hand.read(0.06 + 0.14).velocity == shares(x=1.0)
    assert hand.read(0.06 + 0.15).velocity == STILL, "silence is standstill"


def test_keys_add_and_opposite_ones_cancel(keys):
    hand, terminal = keys
    terminal.type("wdo")
    assert hand.read(0.0).velocity == shares(x=1.0, y=-1.0, gripper=1.0)
    terminal.type("sk")
    assert hand.read(0.1).velocity == shares(y=-1.0, gripper=1.0, pitch=-1.0)


@pytest.mark.parametrize("typed", ["\x1b[A\x1b[D", "\x1bOc", "x?é", "\x1b[1;5a"])
def test_arrows_and_other_keys_move_nothing(keys, typed):
    hand, terminal = keys
    terminal.type(typed)
    assert hand.read(0.0).velocity == STILL


@pytest.mark.parametrize("typed", ["q", "\x03", "\x04"])
def test_q_and_control_c_end_without_a_signal(keys, typed):
    hand, terminal = keys
    terminal.type(f"w{typed}")
    assert hand.read(0.0).ended
    assert not hand.read(0.01).ended


def test_what_was_typed_before_is_forgotten_and_the_terminal_is_put_back():
    terminal = Terminal()
    terminal.type("w")
    hand = Keyboard({"w": "x+"}, device=terminal.device)
    with open(terminal.device) as end:
        before = termios.tcgetattr(end)
        hand.connect()
        assert hand.read(0.0).velocity == STILL
        assert termios.tcgetattr(end) != before
        hand.disconnect()
        assert termios.tcgetattr(end) == before
    hand.disconnect()
    terminal.hang_up()


def test_a_terminal_that_hangs_up_is_lost(keys):
    hand, terminal = keys
    terminal.type("w")
    hand.read(0.0)
    terminal.hang_up()
    with pytest.raises(InputLostError, match="terminal is gone"):
        hand.read(0.01)


def test_without_a_terminal_it_says_so(tmp_path):
    (tmp_path / "file").write_text("w")
    with pytest.raises(ConfigError, match="no terminal"):
        Keyboard({"w": "x+"}, device=str(tmp_path / "file")).connect()


@pytest.mark.parametrize(
    ("keys_given", "error", "match"),
    [
        ({"w": "x"}, ConfigError, "no sign"),
        ({"w": "jaw+"}, UnknownNameError, "jaw"),
        ({"up": "x+"}, ConfigError, "single"),
        ({"q": "x+"}, ConfigError, "not q"),
    ],
)
def test_keys_that_cannot_be_are_refused(keys_given, error, match):
    with pytest.raises(error, match=match):
        Keyboard(keys_given)


def test_a_stick_moves_while_the_dead_mans_button_is_held(pad):
    hand, made = pad
    made.stick(1, -1.0)
    assert hand.read(0.0).velocity == STILL
    made.button(5)
    assert hand.read(0.1).velocity == pytest.approx(shares(x=1.0))
    made.button(5, on=False)
    assert hand.read(0.2).velocity == STILL


def test_a_silent_pad_stands_and_goes_on_when_it_speaks(pad):
    hand, made = pad
    made.button(5)
    made.stick(0, -1.0)
    made.button(1)
    assert hand.read(0.0).velocity == pytest.approx(shares(y=1.0, gripper=1.0))
    assert hand.read(1.0).velocity == pytest.approx(shares(y=1.0, gripper=1.0))
    assert hand.read(1.01).velocity == STILL
    made.stick(0, -0.99)
    assert hand.read(1.5).velocity == pytest.approx(shares(y=1.0, gripper=1.0), abs=0.02)


def test_events_may_come_in_pieces_and_first_values_count(pad):
    hand, made = pad
    event = struct.pack("=IhBB", 0, 1, 0x81, 5) + struct.pack("=IhBB", 7, -32767, 0x82, 1)
    made.raw(event[:11])
    assert hand.read(0.0).velocity == STILL
    made.raw(event[11:])
    assert hand.read(0.01).velocity == pytest.approx(shares(x=1.0))


def test_the_start_button_ends_once(pad):
    hand, made = pad
    made.button(7)
    made.button(7, on=False)
    assert hand.read(0.0).ended
    assert not hand.read(0.1).ended


def test_an_unplugged_pad_is_lost(pad):
    hand, made = pad
    made.button(5)
    made.stick(1, -1.0)
    hand.read(0.0)
    made.unplug()
    with pytest.raises(InputLostError, match="gone"):
        hand.read(0.01)


def test_a_pad_that_is_not_there_is_named(tmp_path):
    hand, _ = hand_of("gamepad", device=str(tmp_path / "js9"))
    with pytest.raises(ConfigError, match="js9"):
        hand.connect()


@given(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.floats(0.0, 0.9))
def test_a_sticks_share_rises_from_the_dead_zone_to_one(a, b, dead_zone):
    pad = Gamepad({}, {}, None, 7, dead_zone=dead_zone)
    low, high = sorted((a, b))
    assert pad._beyond(low) <= pad._beyond(high)
    assert pad._beyond(-a) == -pad._beyond(a)
    assert pad._beyond(dead_zone * 0.99) == 0.0
    assert pad._beyond(1.0) == pytest.approx(1.0)
