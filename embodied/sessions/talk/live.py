"""The robot of a talk in real time: three threads, none of which ever waits for another.

The simulation steps at its control rate with the newest plan there is; the planner plans from the newest state there
is, with as many candidates as fit; the camera draws the newest state. A starved planner thins its candidates, a killed
one is replaced by a spare, and meanwhile the last plan holds.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from embodied.control.locked import LockedPlanner
from embodied.control.planner import Plan
from embodied.core.clock import Clock, MonotonicClock
from embodied.core.errors import DivergenceError, EmbodiedError, RewardCodeError
from embodied.core.reward import RewardProgram
from embodied.sessions.talk.pool import PlannerPool
from embodied.sessions.talk.stage import Stage

FIRST_PLAN_S, DEATHS = 20.0, 3
Note = Callable[[str], None]


@dataclass
class _Job:
    """One program at work."""

    program: RewardProgram
    seed: int
    planner: LockedPlanner
    acting: threading.Event = field(default_factory=threading.Event)
    error: EmbodiedError | None = None
    deaths: int = 0


@dataclass(frozen=True)
class Pulse:
    """How the robot is doing, over the last second or two.

    Attributes:
        plans_hz: plans per second.
        samples: candidates per plan, mean.
        plan_ms: milliseconds per plan, mean.
        steps_hz: control steps per second; the task's own rate when nothing is late.
        late: share of the control steps that began more than half a step late.
        restarts: planners that were replaced since the beginning.
        terms: the weighted terms along the plan that is followed.
        planner_pid: the planner's process; None while there is nothing to follow.
    """

    plans_hz: float
    samples: float
    plan_ms: float
    steps_hz: float
    late: float
    restarts: int
    terms: dict[str, float]
    planner_pid: int | None


class LiveBody:
    """Runs a stage in real time under the program that `follow` was given last.

    Args:
        stage: the robot.
        pool: gives planners.
        budget_s: time that one plan may take; candidates thin out when it is not enough.
        note: told what a person should know (from another thread).
        failed: told of a program that cannot go on, with the reason (from another thread).
        clock: what paces the simulation.
    """

    def __init__(
        self,
        stage: Stage,
        pool: PlannerPool,
        *,
        budget_s: float = 0.05,
        note: Note = lambda message: None,
        failed: Callable[[RewardProgram, str], None] = lambda program, message: None,
        clock: Clock | None = None,
    ) -> None:
        self.stage, self.pool, self.budget_s = stage, pool, budget_s
        self._note, self._failed = note, failed
        self._clock: Clock = clock or MonotonicClock()
        self._job: _Job | None = None
        self._plan: Plan | None = None
        self._planned: tuple[_Job | None, float] = (None, -1.0)
        self._stop, self._wake = threading.Event(), threading.Condition()
        self._steps: deque[tuple[float, bool]] = deque(maxlen=200)
        self._plans: deque[tuple[float, float, int]] = deque(maxlen=200)
        self.restarts = 0
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for name, run in (("simulation", self._simulate), ("planner", self._keep_planning))
        ]

    def start(self) -> LiveBody:
        """Lets time run."""
        for thread in self._threads:
            thread.start()
        return self

    def follow(self, program: RewardProgram, seed: int) -> float:
        """Lets the robot follow another program; the old one holds until the first new plan is there.

        Returns:
            Seconds from the call to the first action of the new program.

        Raises:
            RewardCodeError: the program does not run; the old one goes on.
        """
        begin = time.perf_counter()
        job = _Job(program, seed, self.pool.take(program, seed, self.stage.now.edits))
        with self._wake:
            old, self._job = self._job, job
            self._wake.notify_all()
        came = job.acting.wait(FIRST_PLAN_S)
        if job.error is None and not came:
            job.error = RewardCodeError(f"no plan came within {FIRST_PLAN_S:g} s")
        if job.error is not None:
            with self._wake:
                if self._job is job or self._job is None:
                    self._job = old
                self._wake.notify_all()
            job.planner.close()
            raise job.error
        if old is not None:
            old.planner.close()
        return time.perf_counter() - begin

    def rest(self) -> None:
        """Follows nothing: actions are zero."""
        with self._wake:
            old, self._job, self._plan = self._job, None, None
        if old is not None:
            old.planner.close()

    def pulse(self) -> Pulse:
        """How it is doing."""
        steps, plans, now = list(self._steps), list(self._plans), time.perf_counter()
        recent = [row for row in plans if row[0] > now - 2.0]
        span = max(steps[-1][0] - steps[0][0], 1e-9) if len(steps) > 1 else 1.0
        n, plan, job = max(len(recent), 1), self._plan, self._job
        return Pulse(
            plans_hz=len(recent) / 2.0,
            samples=sum(row[2] for row in recent) / n,
            plan_ms=1e3 * sum(row[1] for row in recent) / n,
            steps_hz=(len(steps) - 1) / span if len(steps) > 1 else 0.0,
            late=sum(late for _, late in steps) / max(len(steps), 1),
            restarts=self.restarts,
            terms=dict(plan.terms) if plan is not None else {},
            planner_pid=job.planner.pid if job is not None else None,
        )

    def close(self) -> None:
        """Ends the threads and the planner."""
        self._stop.set()
        with self._wake:
            self._wake.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10.0)
        self.rest()

    # ---- threads

    def _simulate(self) -> None:
        dt_s = self.stage.task.control_dt_s
        due = self._clock.now_s()
        while not self._stop.is_set():
            late = self._clock.now_s() - due > 0.5 * dt_s
            if self._clock.now_s() - due > 10 * dt_s:
                due = self._clock.now_s()  # the machine stood still: time is not made up for
            try:
                self.stage.step(self._plan)
            except DivergenceError as error:
                self._plan = None
                self._note(f"the simulation stands: {error}")
            self._steps.append((time.perf_counter(), late))
            with self._wake:
                self._wake.notify_all()
            due += dt_s
            self._clock.sleep_until_s(due)

    def _keep_planning(self) -> None:
        while not self._stop.is_set():
            with self._wake:
                self._wake.wait_for(lambda: self._stop.is_set() or self._work_waits(), timeout=1.0)
                job = self._job
            if job is None or self._stop.is_set():
                continue
            start, t0 = self.stage.now, self.stage.t0
            self._planned = (job, float(start.states[0, 0]))
            begin = time.perf_counter()
            try:
                plan = job.planner.plan(start, t0, budget_s=self.budget_s)
            except EmbodiedError as error:
                self._trouble(job, error)
                continue
            self._plans.append((time.perf_counter(), time.perf_counter() - begin, plan.n_samples))
            if self._job is job:
                self._plan, job.deaths = plan, 0
                job.acting.set()

    def _work_waits(self) -> bool:
        """Whether there is a new program, or a state that was not planned from yet."""
        job, t_s = self._planned
        return self._job is not None and (self._job is not job or self.stage.t_s > t_s)

    def _trouble(self, job: _Job, error: EmbodiedError) -> None:
        """The planner's process died, or the program failed on a state."""
        if self._stop.is_set() or self._job is not job:
            return
        if not job.acting.is_set():  # it never ran: `follow` tells who asked
            job.error = error
            with self._wake:
                self._job = None
            job.acting.set()
            return
        job.deaths += 1
        if job.planner.end is not None and job.deaths < DEATHS:
            with suppress(EmbodiedError):
                job.planner.close()
            try:
                job.planner = self.pool.take(job.program, job.seed + job.deaths, self.stage.now.edits)
            except EmbodiedError as other:
                error = other
            else:
                self.restarts += 1
                self._note(f"the planner's process ended ({error}); another one goes on")
                return
        with self._wake:
            self._job, self._plan = None, None
        with suppress(EmbodiedError):
            job.planner.close()
        self._failed(job.program, str(error))
