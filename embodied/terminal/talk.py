"""The terminal face of a talk: lines in, what became of them out."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable

from embodied.core.errors import ConfigError
from embodied.sessions.talk.live_talk import LiveTalk

GREETING = "say what the robot shall do; /undo takes the last sentence back, /save keeps what was seen, /quit ends"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class TerminalTalk:
    """Reads lines in one thread and prints changes of the view in another.

    Args:
        talk: the talk; its main loop runs elsewhere.
        lines: what is typed, ends with the talk.
        write: prints one line.
        poll_s: how often the view is looked at.
    """

    def __init__(
        self, talk: LiveTalk, lines: Iterable[str], write: Callable[[str], None] = print, *, poll_s: float = 0.1
    ) -> None:
        self.talk, self.lines, self.write, self.poll_s = talk, lines, write, poll_s
        self._stop = threading.Event()
        self._shown: tuple = ("idle", "", 0, "", 0)

    def start(self) -> TerminalTalk:
        """Starts both threads."""
        self.write(GREETING)
        for run in (self._read, self._print):
            threading.Thread(target=run, name=f"terminal {run.__name__}", daemon=True).start()
        return self

    def close(self) -> None:
        """Prints what is new and ends."""
        self._stop.set()
        self._show()

    def _read(self) -> None:
        for raw in self.lines:
            line = raw.strip()
            word = line[1:] if line.startswith("/") else "say"
            if not line:
                continue
            try:
                self.talk.post(word, line if word == "say" else "")
            except ConfigError as error:
                self.write(plain(str(error)))
            if word == "quit":
                return
        self.talk.post("quit")

    def _print(self) -> None:
        while not self._stop.is_set():
            self._show()
            time.sleep(self.poll_s)

    def _show(self) -> None:
        view = self.talk.view()
        turns, saved = view["turns"], view["saved"]
        now = (view["phase"], view["message"], len(turns), turns[-1]["id"] if turns else "", len(saved))
        if now == self._shown:
            return
        phase, message, count, last, kept = self._shown
        self._shown = now
        if view["phase"] == "asking" and phase != "asking":
            self.write(f"... {plain(view['asking'])}")
        if now[3] != last and len(turns) >= count and turns:
            self.write(plain(turns[-1]["description"] or turns[-1]["code"]))
            self.write(f"moving: {plain(turns[-1]['text'])}")
        elif len(turns) < count:
            self.write(f"back to: {plain(turns[-1]['text'])}" if turns else "at rest")
        if view["message"] and view["message"] != message:
            self.write(plain(view["message"]))
        if len(saved) > kept:
            self.write("kept: " + ", ".join(saved[-1]["files"].values()))


def plain(text: str) -> str:
    """A model's text without control characters, so that it cannot steer the terminal."""
    return _CONTROL.sub("", text)
