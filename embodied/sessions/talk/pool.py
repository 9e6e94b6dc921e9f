"""Locked planners that wait for their program: a new sentence acts at once, a killed planner is replaced at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from embodied.control.locked import LockedPlanner
from embodied.core.errors import EmbodiedError, SandboxError
from embodied.core.reward import RewardProgram
from embodied.sim.task import ModelEdit


class PlannerPool:
    """Spare planners, started ahead of need.

    Processes can be started from the main thread alone (they die with the thread that made them), so the main thread
    calls `fill` now and then, and any thread may `take`.

    Args:
        make: a planner without a program, not started.
        spares: how many wait.
    """

    def __init__(self, make: Callable[[], LockedPlanner], *, spares: int = 2) -> None:
        self._make, self._wanted = make, spares
        self._ready: list[LockedPlanner] = []
        self._changed = threading.Condition()
        self._closed = False

    def fill(self) -> None:
        """Starts what is missing (main thread only); does not wait."""
        with self._changed:
            missing = 0 if self._closed else self._wanted - len(self._ready)
        for _ in range(missing):
            planner = self._make().start()
            with self._changed:
                self._ready.append(planner)
                self._changed.notify_all()

    def take(
        self, program: RewardProgram, seed: int, edits: Sequence[ModelEdit] = (), *, timeout_s: float = 60.0
    ) -> LockedPlanner:
        """A planner with its program, ready to plan.

        Raises:
            RewardCodeError: the program does not compile.
            SandboxError: no spare came within `timeout_s`, or it could not be locked.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._ready) or self._closed, timeout=timeout_s) or self._closed:
                raise SandboxError(f"no planner got ready within {timeout_s:g} s; see: embodied doctor")
            planner = self._ready.pop(0)
        try:
            planner.bind(program)
            planner.reset(seed, edits)
        except EmbodiedError:
            planner.close()
            raise
        return planner

    def close(self) -> None:
        """Ends the spares."""
        with self._changed:
            self._closed = True
            spares, self._ready = self._ready, []
            self._changed.notify_all()
        for planner in spares:
            with suppress(EmbodiedError):
                planner.close()
