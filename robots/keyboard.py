"""A terminal's keys as a hand. A terminal tells no releases: a key counts as held for a moment after each of its bytes,
and while it is held down it repeats (the last one pressed alone does). Silence is standstill.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import termios
import tty
from collections.abc import Mapping

from embodied.core.errors import ConfigError, InputLostError
from embodied.core.hand import AXES, HandCommand, axis_of

_SEQUENCE = re.compile(rb"\x1b[\[O][0-9;]*[ -/]*[@-~]?")  # arrows and the like, whose last byte looks like a letter
_END = b"q\x03\x04"  # q, Ctrl-C, Ctrl-D


class Keyboard:
    """Keys that each push one axis one way.

    Args:
        keys: axis and sign by key, such as `{w: x+, s: x-}`; single characters. `q` ends.
        held_s: how long a key counts as held after a byte of it [s]: longer than a terminal's repetition (some 30 ms),
            shorter than a person's patience when letting go.
        device: a terminal; None takes the one that the program runs in.
    """

    def __init__(self, keys: Mapping[str, str], held_s: float = 0.15, device: str | None = None) -> None:
        wrong = [key for key in keys if len(str(key).encode()) != 1 or str(key).encode() in _END]
        if wrong or not held_s > 0.0:
            raise ConfigError(f"keys {wrong}, held_s={held_s}: keys are single characters, not q; held_s is positive")
        self._axes = {str(key).encode(): axis_of(name) for key, name in keys.items()}
        self.usage = "  ".join(f"{key}: {name}" for key, name in keys.items()) + "  q: end"
        self._held_s, self._device = held_s, device
        self._fd, self._own, self._before = -1, False, None
        self._seen: dict[bytes, float] = {}

    def connect(self) -> None:
        """Takes the terminal out of line mode; what was typed before is forgotten.

        Raises:
            ConfigError: not a terminal.
        """
        try:
            self._own = self._device is not None
            self._fd = os.open(self._device, os.O_RDONLY | os.O_NOCTTY) if self._device else sys.stdin.fileno()
            self._before = termios.tcgetattr(self._fd)
        except (OSError, ValueError, termios.error) as error:
            self.disconnect()
            where = self._device or "where this runs"
            raise ConfigError(f"keyboard: no terminal {where} ({error}); run it in one, or device=<tty>") from None
        tty.setcbreak(self._fd, termios.TCSAFLUSH)
        quiet = termios.tcgetattr(self._fd)
        quiet[3] &= ~termios.ISIG  # Ctrl-C ends the motion as `q` does, and the arm parks
        termios.tcsetattr(self._fd, termios.TCSANOW, quiet)
        self._seen = {}

    def read(self, now_s: float) -> HandCommand:
        """Which axes are pushed now.

        Raises:
            InputLostError: the terminal has hung up.
        """
        data = b""
        while select.select([self._fd], [], [], 0.0)[0] if self._fd >= 0 else True:
            try:
                more = os.read(self._fd, 1024)
            except OSError:
                more = b""
            if not more:
                raise InputLostError("the keyboard's terminal is gone")
            data += more
        pressed = _SEQUENCE.sub(b"", data)
        self._seen |= {key: now_s for key in (pressed[i : i + 1] for i in range(len(pressed))) if key in self._axes}
        velocity = [0.0] * len(AXES)
        for key, since_s in self._seen.items():
            if now_s - since_s < self._held_s:
                axis, sign = self._axes[key]
                velocity[axis] += sign
        return HandCommand(tuple(velocity), ended=any(byte in pressed for byte in _END))

    def disconnect(self) -> None:
        """Puts the terminal back."""
        if self._fd >= 0 and self._before is not None:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(self._fd, termios.TCSAFLUSH, self._before)
        if self._own and self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
        self._fd, self._before = -1, None
