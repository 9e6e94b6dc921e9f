"""A deployment on a twin step by step: one process, a clock that is moved by hand, the same loop, gate and bytes.

Nothing here depends on how fast the machine is: the same seed gives the same motion.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from embodied.core.clock import VirtualClock
from embodied.core.errors import RobotError
from embodied.core.robot import RobotState
from embodied.core.world import World
from embodied.deploy.chunking import Chunking
from embodied.deploy.chunks import Chunk, make_chunk
from embodied.deploy.loop import ControlLoop, Cycle
from embodied.deploy.supervisor import Outcome
from embodied.deploy.translate import TaskBridge
from embodied.safety.faults import Mode

MOST_MOVE_S, MOST_PARK_S = 20.0, 30.0


@dataclass
class Lockstep:
    """One robot on a manual clock.

    Attributes:
        loop: of the robot, on `clock`.
        bridge: between task and robot.
        policy: what acts.
        clock: of the loop; moves by one control period a cycle.
        advance: moves the twin's physics by seconds.
        latency_s: between an observation and its chunk's arrival [s].
        cycles: everything that happened.
    """

    loop: ControlLoop
    bridge: TaskBridge
    policy: Any
    clock: VirtualClock
    advance: Callable[[float], Any]
    latency_s: float = 0.0
    cycles: list[Cycle] = field(default_factory=list)
    _chunks: int = 0
    _waiting: list[tuple[float, Chunk]] = field(default_factory=list)

    def tick(self, on_reading: Callable[[RobotState, float], None] | None = None) -> Cycle:
        """One control period: the loop's cycle, then the physics until the next one."""
        cycle = self.loop.cycle(on_reading or self._deliver)
        self.cycles.append(cycle)
        with suppress(RobotError):  # an answer shows that all before it has arrived, however slow the line
            self.loop.robot.observe()
        dt_s = self.loop.gate.dt_s
        self.advance(dt_s)
        self.clock.advance_s(dt_s)
        return cycle

    def take(self, observed_s: float, targets: list[list[float]], start: tuple[float, ...]) -> None:
        """A chunk that will arrive `latency_s` after its observation."""
        self._chunks += 1
        made = make_chunk(self._chunks, observed_s, self.bridge.task.control_dt_s, targets, start)
        self._waiting.append((observed_s + self.latency_s, made))

    def _deliver(self, state: RobotState, now_s: float) -> None:
        """Chunks whose time has come."""
        for due in [w for w in self._waiting if w[0] < now_s + 1e-9]:
            self._waiting.remove(due)
            self.loop.stream.offer(due[1], now_s, self.loop.gate.last_command or state.position_rad)

    def go_to(self, pose: tuple[float, ...]) -> bool:
        """Moves to a pose and stands; says whether it came there."""
        self.loop.go_to(pose)
        for _ in range(round(MOST_MOVE_S / self.loop.gate.dt_s)):
            self.tick()
            if self.loop.at_pose:
                break
        for _ in range(round(0.3 / self.loop.gate.dt_s)):
            self.tick()
        return self.loop.at_pose

    def episode(self, seed: int) -> dict[str, Any]:
        """One episode from its start pose; gives the row that a deployment keeps."""
        task = self.bridge.task
        self.go_to(self.bridge.start_pose(seed))
        self.bridge.begin(seed)
        self.policy.reset(task.instruction)
        self.loop.follow(True)
        per_step = round(task.control_dt_s / self.loop.gate.dt_s)
        played = _Played(self, task.episode_steps)
        for _ in range(task.episode_steps):
            self.tick(played.act)
            for _ in range(per_step - 1):
                self.tick()
        self.tick(played.act)
        self.loop.follow(False)
        return {
            "seed": seed,
            "success": played.first >= 0,
            "success_at_end": played.success,
            "first_success_step": played.first,
            "steps": task.episode_steps,
        }

    def park(self) -> bool:
        """Parks and takes the torque off; says whether it could."""
        self.loop.machine.park(self.clock.now_s())
        for _ in range(round(MOST_PARK_S / self.loop.gate.dt_s)):
            if self.tick().mode is Mode.PARKED:
                self.loop.machine.release(self.clock.now_s())
                self.loop.robot.release()
                return True
        return False


class _Played:
    """An episode while it is played: observes, judges, acts, once a step of the task."""

    def __init__(self, steps: Lockstep, n: int) -> None:
        self.steps, self.n, self.step, self.first, self.success = steps, n, 0, -1, False
        self.chunking = Chunking(steps.policy, steps.bridge.task.control_dt_s)
        self.chunking.took(steps.latency_s)

    def act(self, state: RobotState, now_s: float) -> None:
        """One step of the task, on a fresh reading."""
        steps, task = self.steps, self.steps.bridge.task
        last = steps.loop.gate.last_command or state.position_rad
        world = steps.bridge.world(state, last, self.step * task.control_dt_s)
        self.success = self.step > 0 and steps.bridge.success(world)
        if self.success and self.first < 0:
            self.first = self.step - 1
        if self.step < self.n:
            self._ask(world, state, last, now_s)
        self.step += 1

    def _ask(self, world: World, state: RobotState, last: tuple[float, ...], now_s: float) -> None:
        """A chunk of the policy, where the last one has been executed."""
        steps = self.steps
        if self.chunking.due(self.step):
            chunk = self.chunking.ask(steps.bridge.observe(world), self.step)
            steps.take(now_s, steps.bridge.targets(chunk, state, last), last)
            steps._deliver(state, now_s)


def outcome_of(steps: Lockstep, episodes: list[dict[str, Any]], parked: bool) -> Outcome:
    """What a stepped deployment did, in the shape that a live one has."""
    loop = steps.loop
    status = {
        "mode": str(loop.machine.mode),
        "reasons": loop.machine.reasons,
        "verdicts": {str(k): v for k, v in loop.gate.counts.items()},
        "refused": dict(loop.stream.refused),
        "read_faults": loop.read_faults,
        "pacer": {"cycles": float(len(steps.cycles)), "missed": 0.0, "late_p50_ms": 0.0, "late_p99_ms": 0.0},
    }
    rows = [(c.now_s, c.state.position_rad, c.wanted, c.sent, str(c.verdict)) for c in steps.cycles]
    why = "" if parked else "; ".join(loop.machine.reasons)
    return Outcome(episodes, "parked" if parked else "fault", why, False, status, rows)
