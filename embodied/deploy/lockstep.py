"""A deployment on a twin step by step: one process, a clock that is moved by hand, the same loop, gate and bytes.

Nothing here depends on how fast the machine is: the same seed gives the same motion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embodied.core.clock import VirtualClock
from embodied.core.policy import STATE_KEY
from embodied.deploy.chunks import make_chunk
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

    def tick(self) -> Cycle:
        """One control period: the loop's cycle, then the physics until the next one."""
        cycle = self.loop.cycle()
        self.cycles.append(cycle)
        dt_s = self.loop.gate.dt_s
        self.advance(dt_s)
        self.clock.advance_s(dt_s)
        return cycle

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
        first, success, waiting = -1, False, []
        for step in range(task.episode_steps + 1):
            reading = self.loop.robot.observe()
            last = self.loop.gate.last_command or reading.position_rad
            world = self.bridge.world(reading, last, step * task.control_dt_s)
            success = step > 0 and self.bridge.success(world)
            if success and first < 0:
                first = step - 1
            if step == task.episode_steps:
                break
            chunk = np.asarray(self.policy.act({STATE_KEY: self.bridge.observation(world)}))
            self._chunks += 1
            made = make_chunk(
                self._chunks, self.clock.now_s(), task.control_dt_s, self.bridge.targets(chunk, reading, last), last
            )
            waiting.append((self.clock.now_s() + self.latency_s, made))
            for _ in range(per_step):
                for due in [w for w in waiting if w[0] <= self.clock.now_s() + 1e-9]:
                    waiting.remove(due)
                    self.loop.stream.offer(due[1], self.clock.now_s(), self.loop.gate.last_command or last)
                self.tick()
        self.loop.follow(False)
        return {
            "seed": seed,
            "success": first >= 0,
            "success_at_end": success,
            "first_success_step": first,
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
