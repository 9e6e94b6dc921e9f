"""Trainings from the outside: start locked workers, follow them, measure their policies, choose the best.

Everything here is trusted. A worker's own numbers are shown as learning curves; the success that is reported is
measured here, with the task's predicate, on starts that training never saw: candidates are compared on one set of
starts, the chosen one is reported on another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embodied.core.errors import CheckpointError, DivergenceError, EmbodiedError, RewardCodeError, SandboxError
from embodied.core.files import read_json, write_json
from embodied.core.reward import RewardProgram
from embodied.rl.policy import MLPPolicy
from embodied.sandbox.process import End, LockedProcess
from embodied.sim.actors import Actor
from embodied.sim.evaluation import Evaluation, evaluate
from embodied.sim.task import Task

# Roots of starts that training never sees; a training's own seed lies below the first.
SELECTION_SEED, FINAL_SEED, EVALUATE_SEED = 10_000_000, 20_000_000, 40_000_000
Listener = Callable[[str, Mapping[str, Any]], None]


@dataclass
class Job:
    """One training.

    Attributes:
        name: `written`, `expert`, ...
        folder: where its snapshots and policies lie; the only folder that its worker may write.
        program: the reward.
        request: what the worker is told (see `embodied.rl.trainer.prepare`).
    """

    name: str
    folder: Path
    program: RewardProgram
    request: dict[str, Any]
    process: LockedProcess | None = None
    done: dict[str, Any] | None = None
    fault: dict[str, Any] | None = None
    candidates: list[tuple[float, float, int, str]] = field(default_factory=list)
    lock_report: dict[str, Any] | None = None
    began: float = 0.0

    @property
    def ledger(self) -> Path:
        """What was measured here: beside the folder, where the worker cannot write."""
        return self.folder.with_name(f"{self.folder.name}.selection.json")

    def remember(self) -> None:
        """Writes the candidates, and the end once it is reached, into the ledger."""
        write_json(self.ledger, {"candidates": self.candidates, "done": self.done})

    def recall(self) -> None:
        """Takes over what an earlier process measured."""
        if self.ledger.is_file():
            known = read_json(self.ledger)
            self.candidates, self.done = [tuple(row) for row in known["candidates"]], known["done"]

    def policy_folder(self, name: str) -> Path:
        """A candidate's folder.

        Raises:
            SandboxError: the name leads out of the worker's folder.
        """
        folder = (self.folder / name).resolve()
        if not folder.is_relative_to(self.folder.resolve()):
            raise SandboxError(f"worker '{self.name}' named a policy outside its folder: {name!r}")
        return folder


@dataclass
class Trainer:
    """Runs jobs side by side, one locked process each.

    Args:
        task: the task, for the evaluator.
        seed: the run's root seed.
        selection_episodes: fresh episodes on which candidates are compared.
        listener: called with `(job name, row)` for every row of progress.
        allow_missing: sandbox layers that the user allows to be absent.
        packages: packages that the user trusts, and where they lie.
        import_paths: folders of those packages.
        heartbeat_s: longest silence of a worker.
    """

    task: Task
    seed: int
    selection_episodes: int
    listener: Listener
    allow_missing: Collection[str] = ()
    packages: Sequence[str] = ()
    import_paths: Sequence[str] = ()
    heartbeat_s: float = 120.0

    def run(self, jobs: Sequence[Job]) -> None:
        """Trains all jobs to their end, or from where they were interrupted.

        Raises:
            RewardCodeError: a program failed while training; the message names step and environment.
            DivergenceError: the simulation diverged.
            SandboxError: a worker could not be locked, or died.
        """
        running = []
        try:
            for job in jobs:
                job.recall()
                if job.done is None:
                    running.append(self._start(job))
            for job in running:
                assert job.process is not None
                job.lock_report = job.process.wait_ready()
                self.listener(job.name, {"kind": "started", "lock": job.lock_report})
            self._follow(running)
        except KeyboardInterrupt:
            for job in running:
                if job.process is not None and job.process.end is None:
                    job.process.stop(grace_s=20.0)
            raise
        finally:
            for job in running:
                if job.process is not None:
                    job.process.close()

    def _start(self, job: Job) -> Job:
        job.folder.mkdir(parents=True, exist_ok=True)
        self._measure_known(job)
        job.process = LockedProcess(
            "embodied.rl.trainer",
            {**job.request, "program": job.program.to_json(), "folder": str(job.folder)},
            lock="trainer",
            run_folder=job.folder,
            heartbeat_s=self.heartbeat_s,
            packages=self.packages,
            import_paths=self.import_paths,
            allow_missing=self.allow_missing,
        )
        job.began = time.monotonic()
        job.process.start()
        return job

    def _follow(self, running: Sequence[Job]) -> None:
        open_jobs = list(running)
        while open_jobs:
            for job in list(open_jobs):
                assert job.process is not None
                end = job.process.end  # before the messages: none can come after it
                message = job.process.receive(timeout_s=0.1)
                if message is not None:
                    self._handle(job, message)
                elif end is not None:
                    open_jobs.remove(job)
                    self._conclude(job, end)

    def _handle(self, job: Job, message: Mapping[str, Any]) -> None:
        kind = message.get("kind")
        if kind == "policy":
            self._measure(job, int(message["step"]), str(message["path"]))
        elif kind == "done":
            self._measure(job, int(message["step"]), "policy_last")
            job.done = {**message, "wall_s": time.monotonic() - job.began}
            job.remember()
        elif kind == "fault":
            job.fault = dict(message)
        self.listener(job.name, dict(message))

    def _measure(self, job: Job, step: int, name: str) -> None:
        """Success of one candidate on the selection starts."""
        found = evaluate(
            self.task,
            policy_actor(MLPPolicy.load(job.policy_folder(name))),
            episodes=self.selection_episodes,
            seed=SELECTION_SEED + self.seed,
        )
        row = (found.rate, float(found.success_at_end.mean()), step, name)
        job.candidates = [known for known in job.candidates if known[3] != name] + [row]
        job.remember()
        self.listener(job.name, {"kind": "evaluation", "step": step, **found.to_json()})

    def _measure_known(self, job: Job) -> None:
        """Measures the candidates that an interruption left unmeasured."""
        known = {name for *_, name in job.candidates}
        for manifest in sorted(job.folder.glob("policies/step_*/manifest.json")):
            name = f"policies/{manifest.parent.name}"
            if name not in known:
                self._measure(job, int(name.rpartition("_")[2]), name)

    def _conclude(self, job: Job, end: End) -> None:
        if job.fault is not None:
            raise _error_of(job, job.fault)
        if job.done is None:
            detail = end.detail + (f"\n{end.stderr[-1500:]}" if end.stderr else "")
            raise SandboxError(f"the worker of training '{job.name}' ended early: {detail}")

    def best(self, job: Job) -> tuple[MLPPolicy, int]:
        """The candidate with the highest success (then at the end, then the latest), and its step."""
        if not job.candidates:
            raise CheckpointError(f"training '{job.name}' left no policy in {job.folder}")
        *_, step, name = max(job.candidates)
        return MLPPolicy.load(job.policy_folder(name)), int(step)

    def report_success(self, policy: MLPPolicy, episodes: int) -> Evaluation:
        """Success on fresh starts that neither training nor the choice of a candidate has seen."""
        return evaluate(self.task, policy_actor(policy), episodes=episodes, seed=FINAL_SEED + self.seed)


def _error_of(job: Job, fault: Mapping[str, Any]) -> Exception:
    """The worker's fault as an error of this process, naming the training, the step and what was saved."""
    known: tuple[type[EmbodiedError], ...] = (RewardCodeError, DivergenceError, CheckpointError)
    kinds = {kind.__name__: kind for kind in known}
    text = f"training '{job.name}' stopped at step {fault['step']}: {fault['message']}"
    if fault.get("errno") is not None:
        return OSError(fault["errno"], text, str(job.folder))
    if fault.get("states"):
        text += f" States: {job.folder / fault['states']}"
    return kinds.get(fault["error"], SandboxError)(text)


def policy_actor(policy: MLPPolicy) -> Actor:
    """A saved policy as an actor of the evaluator."""
    return lambda observation, world: policy.actions(observation)
