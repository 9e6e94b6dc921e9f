"""The policy's process: readings in, chunks out, at the task's own rate; it never touches the robot.

From the supervisor: `("begin", seed)`, `("end",)`, `("stop",)`; to it: `("ready",)`, `("episode", {...})`, `("error",
why)`.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.build import build
from embodied.core.errors import EmbodiedError
from embodied.core.robot import RobotState
from embodied.deploy.translate import TaskBridge


def run_policy(config: Mapping[str, Any], supervisor: Connection, daemon: Connection) -> None:
    """The process's main function."""
    from embodied.deploy.acting import load_policy, make_bridge

    for number in (signal.SIGINT, signal.SIGTERM):  # the supervisor's to answer; without it the pipe closes
        signal.signal(number, signal.SIG_IGN)
    try:
        trusted = tuple(config.get("trusted_packages", ()))
        policy = load_policy(Path(config["policy"]), trusted)
        bridge = make_bridge(build(config["task"], trusted_packages=trusted), config["joints"], policy)
        supervisor.send(("ready",))
        _Episodes(bridge, policy, supervisor, daemon).run()
    except EmbodiedError as error:
        supervisor.send(("error", str(error)))
    except (EOFError, OSError):
        return  # one of the others has gone: the daemon holds, the supervisor reports


class _Episodes:
    def __init__(self, bridge: TaskBridge, policy: Any, supervisor: Connection, daemon: Connection) -> None:
        self.bridge, self.policy, self.supervisor, self.daemon = bridge, policy, supervisor, daemon
        self._chunks = 0
        self._seed: int | None = None
        self._steps = 0
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
                    self._act(RobotState(*given[1]), given[2])

    def _begin(self, seed: int) -> None:
        self.bridge.begin(seed)
        self.policy.reset(self.bridge.task.instruction)
        self._seed, self._steps, self._first_success, self._success = seed, 0, -1, False

    def _act(self, reading: RobotState, last_command: tuple[float, ...]) -> None:
        task = self.bridge.task
        world = self.bridge.world(reading, last_command, self._steps * task.control_dt_s)
        self._success = self._steps > 0 and self.bridge.success(world)
        if self._success and self._first_success < 0:
            self._first_success = self._steps - 1
        if self._steps >= task.episode_steps:
            self._end()
            return
        if self._steps % getattr(self.policy, "n_action_steps", 1) == 0:
            chunk = np.asarray(self.policy.act(self.bridge.observe(world)))
            targets = self.bridge.targets(chunk, reading, last_command)
            self._chunks += 1
            self.daemon.send((self._chunks, reading.stamp_s, task.control_dt_s, targets, tuple(last_command)))
        self._steps += 1

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
