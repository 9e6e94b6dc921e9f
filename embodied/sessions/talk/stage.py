"""The simulated robot of a talk and what it did: one environment that is never reset while the talk goes on."""

from __future__ import annotations

import io
import json
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from embodied.control.planner import Plan
from embodied.core.errors import CheckpointError
from embodied.core.files import write_bytes
from embodied.data.episode import Episode
from embodied.sim.batch_env import BatchEnv
from embodied.sim.task import Start, Task

KEPT_S = 600.0


class Stage:
    """One robot in its world.

    Args:
        task: gives model, actions and start; its success is not asked for.
        task_config: its configuration, kept with recorded episodes.
        seed: of the start.
    """

    def __init__(self, task: Task, task_config: Mapping[str, Any], seed: int) -> None:
        self.task, self.task_config = task, dict(task_config)
        self._env = BatchEnv(task, n_envs=1, seed=seed)
        self._env.reset()
        self._seen: deque[tuple[Start, np.ndarray]] = deque(maxlen=round(KEPT_S / task.control_dt_s))
        self._lock = threading.Lock()
        self._now = self._env.start_of(0)

    @property
    def now(self) -> Start:
        """The present state, parameters, edits and control (never written again)."""
        return self._now

    @property
    def t_s(self) -> float:
        """Simulated time [s]."""
        return float(self._now.states[0, 0])

    @property
    def t0(self) -> np.ndarray:
        """When the episode began `(1,)` [s]."""
        return self._env.t0

    def readings(self, most: int = 6) -> list[dict[str, Any]]:
        """The first few small quantities of the robot, for people: `{"name", "value", "unit"}`."""
        world, found = self._env.world, []
        for name, quantity in self.task.schema.quantities.items():
            if name != "time" and int(np.prod(quantity.shape)) <= 3 and len(found) < most:
                value = np.atleast_1d(world.quantity(name)[0]).astype(float).tolist()
                found.append({"name": name, "value": value, "unit": quantity.unit})
        return found

    def step(self, plan: Plan | None) -> None:
        """One control step under a plan; without one the action is zero.

        Raises:
            DivergenceError: the simulation left the finite numbers; nothing has moved.
        """
        dt_s, before = self.task.control_dt_s, self._now
        action = np.zeros(self.task.action_size) if plan is None else plan.action(self.t_s, dt_s)
        self._env.step(action[None], autoreset=False)
        with self._lock:
            self._seen.append((before, action))
        self._now = self._env.start_of(0)

    def seen(self, last_s: float = KEPT_S) -> Episode:
        """What happened in the last `last_s` seconds (ten minutes are kept)."""
        with self._lock:
            rows = list(self._seen)[-max(1, round(last_s / self.task.control_dt_s)) :]
            now = self._now
        starts = [start for start, _ in rows] + [now]
        return Episode(
            task=self.task.name,
            task_config=self.task_config,
            instruction="",
            control_dt_s=self.task.control_dt_s,
            states=np.concatenate([start.states for start in starts]),
            controls=np.concatenate([start.control for start in starts]),
            actions=np.array([action for _, action in rows]).reshape(len(rows), self.task.action_size),
            parameters={name: value[0] for name, value in now.parameters.items()},
            edits=tuple(now.edits),
            t0_s=float(self.t0[0]),
        )

    def save(self, path: Path) -> None:
        """Writes the exact state of the simulation, in one file."""
        state = self._env.get_state()
        rest = json.dumps({"rng": state["rng"], "step_count": state["step_count"], "task": self.task.name})
        arrays = {name.replace("/", "|"): value for name, value in state["arrays"].items()}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, rest=np.frombuffer(rest.encode(), dtype=np.uint8), **arrays)
        write_bytes(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Goes on from a state that `save` wrote, bit by bit.

        Raises:
            CheckpointError: the file is damaged or of another task.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name.replace("|", "/"): file[name] for name in file.files if name != "rest"}
                rest = json.loads(file["rest"].tobytes().decode())
        except Exception as error:  # zip, numpy and json each have errors of their own
            raise CheckpointError(f"{path} cannot be read as a talk's state: {error}") from None
        if rest["task"] != self.task.name:
            raise CheckpointError(f"{path} is a state of '{rest['task']}', not of '{self.task.name}'")
        self._env.set_state({"arrays": arrays, "rng": rest["rng"], "step_count": rest["step_count"]})
        self._now = self._env.start_of(0)

    def close(self) -> None:
        """Ends the engine."""
        self._env.close()
