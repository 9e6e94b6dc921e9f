"""Between a task's policy and a robot: the robot's reading becomes the observation that the policy was trained on,
and its actions become joint targets.

The task's own model is posed as the robot is: joint angles and speeds as measured, set-points as last commanded. What
the robot cannot measure (an object's place) stays unknown; a policy that needs it is refused before anything moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embodied.core.errors import ConfigError
from embodied.core.policy import STATE_KEY
from embodied.core.robot import RobotState
from embodied.core.world import World
from embodied.sim.engine import BatchEngine
from embodied.sim.task import Task


class TaskBridge:
    """One task on one robot.

    Args:
        task: gives observation, actions and success; must say which of its joints are the robot's.
        joints: of the robot, in its order.

    Raises:
        ConfigError: the task has no robot's joints, or others than the robot; or its observation needs what no joint
            tells, with the names.
    """

    def __init__(self, task: Task, joints: Sequence[str]) -> None:
        own = getattr(task, "robot_joints", None)
        if own is None or not hasattr(task, "joint_targets"):
            raise ConfigError(f"task '{task.name}' is none of a robot with joint commands: it cannot be deployed")
        if tuple(own) != tuple(joints):
            raise ConfigError(f"task '{task.name}' commands {', '.join(own)}; the robot has {', '.join(joints)}")
        self.task: Any = task
        model = task.model
        self._engine = BatchEngine(
            model, n_envs=1, n_substeps=task.n_substeps, n_threads=0, control_spec=task.control_spec
        )
        self._q = np.array([1 + model.joint(j).qposadr[0] for j in joints])
        self._v = np.array([1 + model.nq + model.joint(j).dofadr[0] for j in joints])
        self._a = np.array([1 + model.nq + model.nv + model.actuator_actadr[model.actuator(j).id] for j in joints])
        self._home = task.home_state()
        self._begin(0, {})
        unknown = self._unknown_quantities()
        if unknown:
            raise ConfigError(
                f"task '{task.name}': the policy observes {', '.join(unknown)}, which the robot's joints do not tell."
                " Deploy a policy that sees it through a camera, or one whose observation leaves it out"
            )

    def draw(self, seed: int) -> dict[str, np.ndarray]:
        """The parameters of one of the task's episodes, such as its goal."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
        return {name: value[0] for name, value in self.task.start(rng, 1).parameters.items()}

    def start_pose(self, seed: int) -> tuple[float, ...]:
        """Where the joints are at the start of that episode `(J,)` [rad]."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
        return tuple(float(x) for x in self.task.start(rng, 1).states[0, self._q])

    def begin(self, seed: int) -> None:
        """A new episode with the parameters of `draw(seed)`."""
        self._begin(seed, self.draw(seed))

    def _begin(self, seed: int, parameters: Mapping[str, np.ndarray]) -> None:
        self._parameters: dict[str, np.ndarray] = {name: np.asarray(v)[None] for name, v in parameters.items()}
        if not parameters:
            rng = np.random.default_rng(seed)
            self._parameters = dict(self.task.start(rng, 1).parameters)
        self._previous: World | None = None

    def world(self, reading: RobotState, last_command: Sequence[float], elapsed_s: float) -> World:
        """The world as far as the joints tell it, batch shape `(1,)`."""
        state = self._state(reading, last_command)
        state[0, 0] = elapsed_s
        self._seen = state
        world = self._world_of(state, self._previous)
        self._previous = self._world_of(state, None)
        return world

    def observation(self, world: World) -> np.ndarray:
        """The task's own observation `(D,)`."""
        return self.task.observe(world)[0]

    def observe(self, world: World) -> dict[str, np.ndarray]:
        """What the policy acts on, under LeRobot's keys."""
        return {STATE_KEY: self.observation(world)}

    @property
    def observed(self) -> Sequence[str]:
        """Quantities that the policy's state is made of."""
        return self.task.observation

    def success(self, world: World) -> bool:
        """Whether the task's own predicate holds."""
        return bool(self.task.success(world)[0])

    def __enter__(self) -> TaskBridge:
        """What a bridge sees through is open while it is entered."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Closes it."""

    def targets(self, chunk: np.ndarray, reading: RobotState, last_command: Sequence[float]) -> list[list[float]]:
        """Joint targets `(T, J)` [rad] of an action chunk `(T, A)`, one control step of the task apart."""
        state, rows = self._state(reading, last_command), []
        for action in np.asarray(chunk):
            target = self.task.joint_targets(action[None], state)
            rows.append([float(x) for x in target[0]])
            state = state.copy()
            state[:, self._a] = target
        return rows

    def _state(self, reading: RobotState, last_command: Sequence[float]) -> np.ndarray:
        state = self._home[None].copy()
        state[0, self._q], state[0, self._v] = reading.position_rad, reading.velocity_radps
        state[0, self._a] = last_command
        return state

    def _world_of(self, state: np.ndarray, previous: World | None) -> World:
        return self.task.world(state, self._engine.read(state), self._parameters, np.zeros(1), previous)

    def _unknown_quantities(self) -> list[str]:
        """Observed quantities that change with coordinates which are not the robot's."""
        known = {0, *self._q.tolist(), *self._v.tolist(), *self._a.tolist()}
        others = [i for i in range(1, 1 + self.task.model.nq + self.task.model.nv) if i not in known]
        if not others:
            return []
        here, there = self._home[None].copy(), self._home[None].copy()
        there[0, others] += np.random.default_rng(0).uniform(0.01, 0.05, len(others))
        a, b = self._world_of(here, None), self._world_of(there, None)
        return [q for q in self.observed if not np.array_equal(a.quantity(q), b.quantity(q))]
