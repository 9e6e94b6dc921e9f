"""Input devices without hardware: a pseudo terminal as keyboard, a FIFO as gamepad."""

import os
import struct

import yaml

from embodied.core.assets import conf_dir
from embodied.core.build import build


def hand_of(name, **changes):
    """`(hand, speeds)` of `conf/teleop/<name>.yaml`."""
    config = yaml.safe_load((conf_dir() / "teleop" / f"{name}.yaml").read_text())
    return build(config.pop("hand"), **changes), config


class Terminal:
    """The person's end of a terminal."""

    def __init__(self):
        self._person, self._program = os.openpty()
        self.device = os.ttyname(self._program)
        self._ends = [self._person, self._program]

    def type(self, text):
        os.write(self._person, text.encode())

    def hang_up(self):
        while self._ends:
            os.close(self._ends.pop())


class Pad:
    """A gamepad's end of a FIFO; opened once somebody reads."""

    def __init__(self, folder):
        self.device = str(folder / "js0")
        os.mkfifo(self.device)
        self._reader = os.open(self.device, os.O_RDONLY | os.O_NONBLOCK)  # so that it can be written before it is read
        self._writer = os.open(self.device, os.O_WRONLY)
        self._ends = [self._reader, self._writer]

    def event(self, kind, number, value):
        os.write(self._writer, struct.pack("=IhBB", 0, value, kind, number))

    def button(self, number, on=True):
        self.event(1, number, int(on))

    def stick(self, number, share):
        self.event(2, number, round(share * 32767))

    def raw(self, data):
        os.write(self._writer, data)

    def unplug(self):
        while self._ends:
            os.close(self._ends.pop())
