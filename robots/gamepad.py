"""A gamepad as a hand, through Linux' joystick device: events of eight bytes.

Source: the kernel's Documentation/input/joydev/joystick-api.rst. Such a device speaks only when something changes. A
pad that goes out of reach with a stick held over may say nothing any more, so motion also stops after a time of
silence, and while the dead-man's button is not held.
"""

from __future__ import annotations

import contextlib
import glob
import os
import struct
from collections.abc import Mapping

from embodied.core.errors import ConfigError, InputLostError
from embodied.core.hand import AXES, STILL, HandCommand, axis_of

EVENT = struct.Struct("=IhBB")  # time [ms], value, type, number
BUTTON, AXIS, INIT, FULL = 0x01, 0x02, 0x80, 32767.0


class Gamepad:
    """Sticks and buttons that push axes.

    Args:
        axes: axis and sign by the number of a stick's axis.
        buttons: axis and sign by the number of a button.
        enable: button that must be held for anything to move; None moves without.
        end: button that ends.
        device: the joystick device.
        dead_zone: share of a stick's way in which it counts as released.
        silent_s: without any event for so long everything stands [s].
    """

    def __init__(
        self,
        axes: Mapping[int, str],
        buttons: Mapping[int, str],
        enable: int | None,
        end: int,
        device: str | None = None,
        dead_zone: float = 0.1,
        silent_s: float = 1.0,
    ) -> None:
        if not (0.0 <= dead_zone < 1.0 and silent_s > 0.0):
            raise ConfigError(f"dead_zone={dead_zone} must lie in [0, 1), silent_s={silent_s} be positive")
        self._axes = {int(number): axis_of(name) for number, name in axes.items()}
        self._buttons = {int(number): axis_of(name) for number, name in buttons.items()}
        self._enable, self._end, self._device = enable, end, device or "/dev/input/js0"
        self._dead_zone, self._silent_s = dead_zone, silent_s
        told = [f"axis {n}: {name}" for n, name in axes.items()] + [
            f"button {n}: {name}" for n, name in buttons.items()
        ]
        held = "" if enable is None else f"hold button {enable} to move  "
        self.usage = f"{held}{'  '.join(told)}  button {end}: end"
        self._fd = -1
        self._forget()

    def _forget(self) -> None:
        self._rest, self._heard_s = b"", float("-inf")
        self._sticks: dict[int, float] = {}
        self._pressed: set[int] = set()

    def connect(self) -> None:
        """Opens the device.

        Raises:
            ConfigError: there is none.
        """
        self._forget()
        try:
            self._fd = os.open(self._device, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            found = ", ".join(sorted(glob.glob("/dev/input/js*"))) or "none"
            raise ConfigError(f"gamepad {self._device}: {error.strerror}; there are: {found} (device=<path>)") from None

    def read(self, now_s: float) -> HandCommand:
        """Which axes are pushed now.

        Raises:
            InputLostError: the device is gone.
        """
        ended = False
        for value, kind, number in self._events(now_s):
            if kind & ~INIT == AXIS:
                self._sticks[number] = value / FULL
            elif kind & ~INIT == BUTTON:
                (self._pressed.add if value else self._pressed.discard)(number)
                ended = ended or (number == self._end and bool(value))
        silent = now_s - self._heard_s > self._silent_s
        if silent or (self._enable is not None and self._enable not in self._pressed):
            return HandCommand(STILL, ended)
        velocity = [0.0] * len(AXES)
        for number, (axis, sign) in self._axes.items():
            velocity[axis] += sign * self._beyond(self._sticks.get(number, 0.0))
        for number, (axis, sign) in self._buttons.items():
            velocity[axis] += sign * (number in self._pressed)
        return HandCommand(tuple(min(max(share, -1.0), 1.0) for share in velocity), ended)

    def _events(self, now_s: float) -> list[tuple[int, int, int]]:
        """`(value, type, number)` of what has come."""
        data = self._rest
        while True:
            try:
                more = os.read(self._fd, 64 * EVENT.size)
            except BlockingIOError:
                break
            except OSError:
                more = b""
            if not more:
                raise InputLostError(f"the gamepad {self._device} is gone")
            data, self._heard_s = data + more, now_s
        whole = len(data) - len(data) % EVENT.size
        self._rest = data[whole:]
        return [event[1:] for event in EVENT.iter_unpack(data[:whole])]

    def _beyond(self, share: float) -> float:
        """A stick's share, from 0 at the dead zone's edge to 1."""
        far = max(abs(share) - self._dead_zone, 0.0) / (1.0 - self._dead_zone)
        return min(far, 1.0) if share > 0.0 else -min(far, 1.0)

    def disconnect(self) -> None:
        """Closes the device."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
        self._fd = -1
