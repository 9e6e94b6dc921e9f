"""The supervisor: starts daemon and policy, leads through the episodes, and takes over when one of them dies."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from embodied.core.build import build
from embodied.core.clock import MonotonicClock
from embodied.core.errors import RobotError
from embodied.deploy.daemon import make_loop, run_daemon
from embodied.deploy.pacer import Pacer
from embodied.deploy.policy_process import run_policy
from embodied.safety.faults import Mode

START_S, MOVE_S, PARK_S = 60.0, 20.0, 30.0


@dataclass
class Outcome:
    """What a deployment did.

    Attributes:
        episodes: a row each (`seed`, `success`, `first_success_step`, ...).
        ended: `parked`, `lost`, `fault` or `rescued`, with the reason in `why`.
        why: of an end that was not planned.
        real_time: whether the daemon had real-time priority.
        status: the daemon's last status.
        rows: every control period: time, measured, wanted, sent, verdict.
        notes: what happened, with monotonic times.
    """

    episodes: list[dict[str, Any]] = field(default_factory=list)
    ended: str = ""
    why: str = ""
    real_time: bool = False
    status: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    notes: list[tuple[float, str]] = field(default_factory=list)


class Supervisor:
    """One deployment.

    Args:
        config: of the daemon and the policy (see `conf/deploy.yaml`), resolved.
        show: told every status, for a console.
    """

    def __init__(self, config: Mapping[str, Any], show: Callable[[Outcome], None] | None = None) -> None:
        self.config, self.outcome, self._show = dict(config), Outcome(), show or (lambda outcome: None)
        context = multiprocessing.get_context("spawn")
        self._daemon, daemon_end = context.Pipe()
        self._policy, policy_end = context.Pipe()
        daemon_policy, policy_daemon = context.Pipe()
        self.daemon = context.Process(target=run_daemon, args=(self.config, daemon_end, daemon_policy), daemon=True)
        self.policy = context.Process(target=run_policy, args=(self.config, policy_end, policy_daemon), daemon=True)
        self._ends = (daemon_end, policy_end, daemon_policy, policy_daemon)

    def run(
        self,
        seeds: list[int],
        start_pose: Callable[[int], tuple[float, ...]],
        on_move: Callable[[int], None] | None = None,
    ) -> Outcome:
        """Plays one episode per seed, parks, releases.

        Args:
            seeds: of the episodes.
            start_pose: where the joints are at the start of an episode `(J,)` [rad].
            on_move: told the number of every episode once it moves, from 0.
        """
        try:
            self._start()
            for number, seed in enumerate(seeds):
                self._episode(seed, start_pose(seed), (lambda n=number: on_move(n)) if on_move else None)
            self._park()
        except _DaemonGoneError as gone:
            self._rescue(str(gone))
        except _EndedError as ended:
            self.outcome.ended, self.outcome.why = ended.args
        except BaseException as stopped:
            self._note(f"stopped ({type(stopped).__name__}): parking")
            with contextlib.suppress(_EndedError, _DaemonGoneError):
                self._park()
            if not isinstance(stopped, KeyboardInterrupt):
                raise
        finally:
            self._close()
        return self.outcome

    def stop(self, why: str) -> None:
        """Every motion source stops and the robot holds; latched."""
        with contextlib.suppress(OSError):
            self._daemon.send(("fault", why))

    def _start(self) -> None:
        self.policy.start()
        self.daemon.start()
        for end in self._ends:  # theirs alone: when one of them dies, the others see the end of the pipe
            end.close()
        armed = ready = False
        until_s = time.monotonic() + START_S
        while not (armed and ready):
            for word, *given in self._messages(until_s, "start"):
                armed, ready = armed or word == "armed", ready or word == "ready"
                if word == "armed":
                    self.outcome.real_time = bool(given[1])
                    self._note("armed, holding where it stands")

    def _episode(self, seed: int, pose: tuple[float, ...], moving: Callable[[], None] | None) -> None:
        self._daemon.send(("go_to", pose))
        self._wait_for(lambda: self.outcome.status.get("at_pose", False), MOVE_S, "move to the start pose")
        before = len(self.outcome.episodes)
        if self._policy is None:
            raise _EndedError("fault", "the policy process has ended")
        self._policy.send(("begin", seed))
        self._daemon.send(("follow", float(self.config["policy_step_s"])))
        if moving is not None:
            moving()
        limit_s = float(self.config["policy_step_s"]) * float(self.config["episode_steps"]) * 2.0 + 10.0
        self._wait_for(lambda: len(self.outcome.episodes) > before, limit_s, "end the episode")
        self._daemon.send(("hold",))

    def _park(self) -> None:
        self._daemon.send(("park",))
        self._wait_for(lambda: self.outcome.status.get("mode") == Mode.PARKED, PARK_S, "park")
        self._daemon.send(("release",))
        self._wait_for(lambda: self.outcome.status.get("mode") == Mode.RELEASED, 2.0, "release the torque")
        self._daemon.send(("stop",))
        self.outcome.ended = "parked"
        self._note("parked; torque off")

    def _wait_for(self, met: Callable[[], bool], limit_s: float, what: str) -> None:
        until_s = time.monotonic() + limit_s
        self.outcome.status["at_pose"] = False
        while not met():
            for _ in self._messages(until_s, what):
                pass
            mode = self.outcome.status.get("mode", Mode.RUNNING)
            if mode in (Mode.HOLD, Mode.PARKING, Mode.PARKED) and what not in ("park", "release the torque"):
                self._faulted()

    def _faulted(self) -> None:
        """The daemon has latched a fault: it holds, then parks by itself; wait for that and end."""
        why = "; ".join(self.outcome.status.get("reasons", ()))
        self._note(f"fault: {why}")
        self._wait_for(lambda: self.outcome.status.get("mode") == Mode.PARKED, PARK_S, "park")
        self._daemon.send(("release",))
        self._daemon.send(("stop",))
        raise _EndedError("fault", why)

    def _messages(self, until_s: float, what: str) -> list[tuple[Any, ...]]:
        """What arrived within a moment; keeps the books."""
        left_s = until_s - time.monotonic()
        if left_s <= 0.0:
            self.stop(f"did not {what} in time")
            raise _EndedError("fault", f"the robot did not {what} in time")
        watched: list[Any] = [self._daemon, self.daemon.sentinel]
        if self._policy is not None:
            watched.append(self._policy)
        found = []
        for ready in wait(watched, timeout=min(left_s, 0.2)):
            if ready is self.daemon.sentinel or not isinstance(ready, Connection):
                if not self._daemon.poll():
                    raise _DaemonGoneError(f"the driver daemon has died (exit code {self.daemon.exitcode})")
                continue
            try:
                message = ready.recv()
            except (EOFError, OSError):
                if ready is self._daemon:
                    raise _DaemonGoneError("the driver daemon has died") from None
                self._policy = None
                self._note("the policy process has ended")
                continue
            self._book(*message)
            found.append(message)
        return found

    def _book(self, word: str, *given: Any) -> None:
        if word == "status":
            rows = given[0].pop("rows")
            self.outcome.rows.extend(rows)
            self.outcome.status = given[0]
            self._show(self.outcome)
        elif word == "episode":
            self.outcome.episodes.append(given[0])
            self._note(f"episode {len(self.outcome.episodes)}: {'success' if given[0]['success'] else 'no success'}")
        elif word == "lost":
            self._note(f"lost: {given[0]}")
            raise _EndedError("lost", str(given[0]))
        elif word == "error":
            raise _EndedError("fault", str(given[0]))

    def _rescue(self, why: str) -> None:
        """Opens the bus again, holds at once, parks and releases: the daemon cannot any more."""
        self._note(why)
        self.outcome.ended, self.outcome.why = "rescued", why
        robot = build(self.config["driver"], **self.config["connection"])
        clock = MonotonicClock()
        try:
            robot.connect()
            loop = make_loop(self.config, robot, clock)
            loop.arm()
            self._note("holding again")
            loop.machine.fault(why, clock.now_s())
            loop.machine.park(clock.now_s())
            pacer = Pacer(float(self.config["rate_hz"]), clock)
            until_s = clock.now_s() + PARK_S
            while loop.machine.mode is not Mode.PARKED and clock.now_s() < until_s:
                loop.cycle()
                pacer.wait()
            if loop.machine.mode is Mode.PARKED:
                loop.machine.release(clock.now_s())
                robot.release()
                self._note("parked; torque off")
        except RobotError as error:
            self.outcome.ended, self.outcome.why = "lost", f"{why}; then {error}"
        finally:
            robot.disconnect()

    def _note(self, text: str) -> None:
        self.outcome.notes.append((time.monotonic(), text))

    def _close(self) -> None:
        """Ends both processes; a daemon that was not told to stop parks by itself when the pipe closes."""
        if self._policy is not None:
            with contextlib.suppress(OSError):
                self._policy.send(("stop",))
            self._policy.close()
        self._daemon.close()
        for process, limit_s in ((self.policy, 3.0), (self.daemon, PARK_S)):
            if process.pid is not None:
                process.join(timeout=limit_s)
                if process.is_alive():
                    process.kill()
                    process.join()


class _EndedError(Exception):
    """The deployment has ended before its time: how, and why."""


class _DaemonGoneError(Exception):
    """The driver daemon is dead."""
