"""A planner in its own locked process: the program that it scores with never runs beside the simulation.

`LockedPlanner` has the interface of `SamplingPlanner`; a plan is one message there and one back. The process is one per
program: it builds task and engine, locks itself, and only then sees the program. What comes back is a plan, nothing
else is believed: success is measured by whoever owns the simulation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from embodied.control.planner import Plan, SamplingPlanner
from embodied.core.build import build
from embodied.core.errors import ConfigError, RewardCodeError
from embodied.core.reward import RewardProgram
from embodied.sandbox.process import End, LockedProcess
from embodied.sim.building import build_task
from embodied.sim.task import ModelEdit, Start, Task

ENTRY = "embodied.control.locked"
STARTUP_DEADLINE_S, PLAN_DEADLINE_S = 60.0, 20.0


class LockedPlanner:
    """Plans in a locked process.

    Args:
        task: the task, built from `task_config` (for its name and step).
        task_config: its configuration, built again in the process.
        program: the reward program; None lets the process wait for `bind`.
        sampler_config: a configuration of `conf/planner/`.
        settings: keyword arguments of `SamplingPlanner`.
        trusted_packages: packages that the task's `_target_` may name besides our own.
        import_paths: trusted folders where those lie.
        allow_missing: sandbox layers that the user allows to be absent.
        plan_deadline_s: longest time for one plan; then the process is killed.
    """

    def __init__(
        self,
        task: Task,
        task_config: Mapping[str, Any],
        program: RewardProgram | None,
        sampler_config: Mapping[str, Any],
        settings: Mapping[str, Any],
        *,
        trusted_packages: Sequence[str] = (),
        import_paths: Sequence[str] = (),
        allow_missing: Collection[str] = (),
        plan_deadline_s: float = PLAN_DEADLINE_S,
    ) -> None:
        self.task, self.program, self.plan_deadline_s = task, program, plan_deadline_s
        request = {
            "task": dict(task_config),
            "sampler": dict(sampler_config),
            "settings": dict(settings),
            "trusted_packages": list(trusted_packages),
        }
        self._process = LockedProcess(
            ENTRY,
            request,
            lock="light",
            packages=trusted_packages,
            import_paths=import_paths,
            allow_missing=allow_missing,
            heartbeat_s=None,
        )
        self._bound = False

    def start(self) -> LockedPlanner:
        """Spawns the process without waiting for it (main thread only)."""
        self._process.start()
        return self

    def bind(self, program: RewardProgram) -> LockedPlanner:
        """Gives a waiting process its program, once.

        Raises:
            RewardCodeError: the program does not compile.
            SandboxError: the process did not get ready.
        """
        if self._bound:
            raise ConfigError("this planner has its program already; one process serves one program")
        self.program = program
        self._bind()
        return self

    def reset(self, seed: int, edits: Sequence[ModelEdit] = ()) -> None:
        """As `SamplingPlanner.reset`.

        Raises:
            RewardCodeError: the program does not compile.
        """
        self._bind()
        arrays = {f"edit/{i}": np.asarray(edit.values[:1], dtype=np.float64) for i, edit in enumerate(edits)}
        places = [{"field": edit.field, "index": edit.index} for edit in edits]
        self._ask({"kind": "reset", "seed": seed, "edits": places}, arrays)

    def plan(self, start: Start, t0: np.ndarray, *, budget_s: float | None = None) -> Plan:
        """As `SamplingPlanner.plan`.

        Raises:
            RewardCodeError: the program failed, or its process was stopped.
        """
        self._bind()
        arrays = {"states": start.states, "t0": t0, **{f"parameter/{k}": v for k, v in start.parameters.items()}}
        if start.control is not None:
            arrays["control"] = start.control
        answer = self._ask({"kind": "plan", "budget_s": budget_s}, arrays)
        return _checked_plan(answer, float(start.states[0, 0]), self.task.action_size)

    def _bind(self) -> None:
        if not self._bound:
            if self.program is None:
                raise ConfigError("this planner has no program yet: call bind(program)")
            self._process.wait_ready()
            self._bound = True
            self._ask({"kind": "program", "program": self.program.to_json()}, {}, STARTUP_DEADLINE_S)

    def _ask(self, message: Mapping[str, Any], arrays: Mapping[str, np.ndarray], deadline_s: float = 0.0) -> dict:
        answer = self._process.request(message, arrays, deadline_s=deadline_s or self.plan_deadline_s)
        if isinstance(answer, End):
            raise RewardCodeError(f"the planner's process was stopped: {answer.detail}")
        if answer.get("kind") == "error":
            raise RewardCodeError(str(answer["message"]), answer["line"])
        return answer

    @property
    def end(self) -> End | None:
        """How the process ended, or None while it lives."""
        return self._process.end

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid

    def close(self) -> None:
        """Ends the process."""
        self._process.close()


def _checked_plan(answer: Mapping[str, Any], t_s: float, action_size: int) -> Plan:
    """The plan in an answer of the locked process, which may be hostile: shapes, range and plain numbers."""
    arrays = answer.get("arrays", {})
    knots, actions = arrays.get("knots"), arrays.get("actions")
    good = (
        isinstance(knots, np.ndarray)
        and isinstance(actions, np.ndarray)
        and knots.ndim == actions.ndim == 2
        and knots.shape[1] == actions.shape[1] == action_size
        and len(actions) > 0
        and bool(np.isfinite(knots).all())
        and bool((np.abs(actions) <= 1.5).all())
    )
    if not good:
        raise RewardCodeError("the planner's process answered with something that is not a plan")
    terms = {str(k): float(v) for k, v in answer["terms"].items()}
    counts = int(answer["n_samples"]), int(answer["n_diverged"])
    return Plan(knots, np.clip(actions, -1.0, 1.0), t_s, *counts, float(answer["best"]), terms)


class Context:
    """What the process holds before it is locked."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.task = build_task(request["task"], trusted_packages=request["trusted_packages"])
        self.sampler, self.settings = build(request["sampler"]), dict(request["settings"])
        self.planner: SamplingPlanner | None = None
        # The first use of what loads lazily; no threads before the lock.
        warm = SamplingPlanner(self.task, _nothing, self.sampler, **{**self.settings, "n_threads": 0})
        warm.plan(self.task.start(np.random.default_rng(0), 1), np.zeros(1))
        warm.close()


def _nothing(world: Any, action: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    zero = np.zeros(world.batch_shape)
    return zero, {"nothing": zero}


def prepare(request: Mapping[str, Any]) -> Context:
    """Before the lock: task, engine, warm-up."""
    return Context(request)


def run(context: Context, channel: Any) -> None:
    """Inside the lock: messages `program` (once, first), `reset` and `plan`, each answered."""
    while (received := channel.receive_arrays()) is not None:
        message, arrays = received
        try:
            answer, sent = _handle(context, message, arrays)
        except RewardCodeError as error:
            answer, sent = {"kind": "error", "message": error.message, "line": error.line}, {}
        channel.send_arrays(answer, sent)


def _handle(
    context: Context, message: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if message["kind"] == "program":
        bound = RewardProgram.from_json(message["program"]).bind()
        context.planner = SamplingPlanner(context.task, bound, context.sampler, **context.settings)
        return {"kind": "bound"}, {}
    if context.planner is None:
        raise ConfigError("the first message must be the program")
    if message["kind"] == "reset":
        places = enumerate(message["edits"])
        edits = [ModelEdit(place["field"], place["index"], arrays[f"edit/{i}"]) for i, place in places]
        context.planner.reset(message["seed"], edits)
        return {"kind": "reset"}, {}
    parameters = {k.removeprefix("parameter/"): v for k, v in arrays.items() if k.startswith("parameter/")}
    start = Start(arrays["states"], parameters, control=arrays.get("control"))
    plan = context.planner.plan(start, arrays["t0"], budget_s=message["budget_s"])
    answer = {
        "kind": "plan",
        "n_samples": plan.n_samples,
        "n_diverged": plan.n_diverged,
        "best": plan.best,
        "terms": dict(plan.terms),
    }
    return answer, {"knots": plan.knots, "actions": plan.actions}
