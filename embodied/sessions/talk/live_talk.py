"""A talk in real time: faces post requests from any thread, the main thread works them off and starts processes."""

from __future__ import annotations

import queue
import secrets
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from embodied.core.errors import ConfigError, EmbodiedError
from embodied.sessions.talk.live import LiveBody
from embodied.sessions.talk.pool import PlannerPool
from embodied.sessions.talk.session import TalkSession

KINDS = ("say", "undo", "save", "quit")
CHECKPOINT_S, WAITING = 2.0, 16


@dataclass
class LiveTalk:
    """What a face holds.

    Args:
        session: the talk.
        body: the robot in real time.
        pool: its planners.
    """

    session: TalkSession
    body: LiveBody
    pool: PlannerPool
    _inbox: queue.Queue = field(default_factory=lambda: queue.Queue(maxsize=WAITING), init=False)

    def post(self, kind: str, text: str = "", request: str = "") -> str:
        """Takes a request, from any thread; gives its id.

        Raises:
            ConfigError: an unknown kind, or too many requests wait.
        """
        if kind not in KINDS:
            raise ConfigError(f"a request is one of {', '.join(KINDS)}, not {kind!r}")
        request = request or secrets.token_hex(8)
        if kind == "undo" and self.session.state.asking:  # the main thread waits for the model: do not wait for it
            self.session.undo(request)
            return request
        try:
            self._inbox.put_nowait((kind, text, request))
        except queue.Full:
            raise ConfigError(f"{WAITING} requests wait already: let the robot catch up") from None
        return request

    def view(self) -> dict[str, Any]:
        """What a face shows: the session's view, with `pulse`."""
        return {**self.session.view(), "pulse": asdict(self.body.pulse())}

    def run(self) -> None:
        """Works until `quit` (main thread only). Whatever becomes of a request is in the ledger and in the view."""
        kept = time.monotonic()
        while True:
            self.pool.fill()
            if time.monotonic() - kept > CHECKPOINT_S:
                self.session.checkpoint()
                kept = time.monotonic()
            try:
                kind, text, request = self._inbox.get(timeout=0.25)
            except queue.Empty:
                continue
            if kind == "quit":
                self.session.checkpoint()
                return
            self._work(kind, text, request)

    def _work(self, kind: str, text: str, request: str) -> None:
        try:
            if kind == "say":
                self.session.say(text, request)
            elif kind == "undo":
                self.session.undo(request)
            else:
                self.session.save(request)
        except EmbodiedError as error:
            if self.session.state.message != str(error):  # a fault is in the ledger already
                self.session.note(str(error))

    def close(self) -> None:
        """Ends the robot and its planners."""
        self.body.close()
        self.pool.close()
        self.session.stage.close()
