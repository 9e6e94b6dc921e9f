"""The policy's process: readings in, chunks out, at the task's own rate; it never touches the robot.

From the supervisor: `("begin", seed)`, `("end",)`, `("stop",)`; to it: `("ready",)`, `("episode", {...})`, `("error",
why)`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from typing import Any

from embodied.core.errors import EmbodiedError
from embodied.core.robot import RobotState
from embodied.deploy.chunking import Chunking
from embodied.deploy.chunks import QUICK_S
from embodied.deploy.translate import TaskBridge
from embodied.sim.building import build_task


def run_policy(config: Mapping[str, Any], supervisor: Connection, daemon: Connection) -> None:
    """The process's main function."""
    from embodied.deploy.acting import load_policy, make_bridge

    for number in (signal.SIGINT, signal.SIGTERM):  # the supervisor's to answer; without it the pipe closes
        signal.signal(number, signal.SIG_IGN)
    try:
        trusted = tuple(config.get("trusted_packages", ()))
        policy = load_policy(config["policy"], trusted, token_env=config["token_env"])
        task = build_task(config["task"], trusted_packages=trusted)
        with make_bridge(task, config["joints"], policy, config["cameras"]) as bridge:
            supervisor.send(("ready",))
            chunking = Chunking(policy, task.control_dt_s, QUICK_S, continues=bool(config["continue_chunks"]))
            _Episodes(bridge, policy, chunking, supervisor, daemon).run()
    except EmbodiedError as error:
        supervisor.send(("error", str(error)))
    except (EOFError, OSError):
        return  # one of the others has gone: the daemon holds, the supervisor reports


class _Episodes:
    def __init__(
        self, bridge: TaskBridge, policy: Any, chunking: Chunking, supervisor: Connection, daemon: Connection
    ) -> None:
        self.bridge, self.policy, self.supervisor, self.daemon = bridge, policy, supervisor, daemon
        self._chunks = 0
        self._seed: int | None = None
        self._steps, self._first_reading = 0, 0
        self._chunking = chunking
        self._first_success = -1
        self._success = False

    def run(self) -> None:
        while True:
            for ready in wait([self.supervisor, self.daemon]):
                assert isinstance(ready, Connection)
                word, *given = ready.recv()
                if word == "stop":
                    return
                if word == "begin":
                    self._begin(int(given[0]))
                elif word == "end":
                    self._seed = None
                elif word == "reading" and self._seed is not None:
                    while self.daemon.poll():  # only the newest reading is acted on
                        word, *given = self.daemon.recv()
                    self._act(int(given[0]), RobotState(*given[1]), given[2])

    def _begin(self, seed: int) -> None:
        self.bridge.begin(seed)
        self.policy.reset(self.bridge.task.instruction)
        self._chunking.begin()
        self._seed, self._steps, self._first_success, self._success = seed, 0, -1, False
        self._first_reading = -1

    def _act(self, number: int, reading: RobotState, last_command: tuple[float, ...]) -> None:
        """A step of the task; readings that came while the policy thought are steps too."""
        task = self.bridge.task
        self._first_reading = number if self._first_reading < 0 else self._first_reading
        self._steps = number - self._first_reading
        world = self.bridge.world(reading, last_command, self._steps * task.control_dt_s)
        self._success = self._steps > 0 and self.bridge.success(world)
        if self._success and self._first_success < 0:
            self._first_success = self._steps - 1
        if self._steps >= task.episode_steps:
            self._end()
            return
        if self._chunking.due(self._steps):
            begin = time.monotonic()
            chunk = self._chunking.ask(self.bridge.observe(world), self._steps)
            targets = self.bridge.targets(chunk, reading, last_command)
            self._chunking.took(time.monotonic() - begin)
            self._chunks += 1
            self.daemon.send((self._chunks, reading.stamp_s, task.control_dt_s, targets, tuple(last_command)))

    def _end(self) -> None:
        row = {
            "seed": self._seed,
            "success": self._first_success >= 0,
            "success_at_end": self._success,
            "first_success_step": self._first_success,
            "steps": self._steps,
        }
        self._seed = None
        self.supervisor.send(("episode", row))
