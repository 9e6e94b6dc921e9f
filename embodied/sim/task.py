"""The task contract: what there is in the world, how an episode starts, what counts as success. Never a
reward.

A new task is one module with one `Task` subclass, a `reward(world, action)` function (the expert reward, our
reference) and one yaml in `conf/task/`.
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import mujoco
import numpy as np

from embodied.core.errors import ConfigError, UnknownNameError
from embodied.core.quantities import Quantity, Schema
from embodied.core.reward import RewardProgram
from embodied.core.world import World, lazy_world, peek
from embodied.core.writer import TaskDescription
from embodied.safety.envelope import Envelope
from embodied.sim.engine import initial_state
from embodied.sim.reads import Frames, Reader, Readings, Source


@dataclass(frozen=True)
class ModelEdit:
    """`model.<field>[index] = values[i]` for environment i, e.g. a prop's place in `body_pos`."""

    field: str
    index: Any
    values: np.ndarray


@dataclass(frozen=True)
class Start:
    """The start of n episodes.

    Attributes:
        states: full physics states `(n, n_state)`.
        parameters: episode parameters by name, `(n, ...)`.
        edits: edits of the models, each for all n environments.
        control: the `last_control` that `Task.control` sees first, `(n, n_control)`; None takes the controls
            of the model's home keyframe (0 where it has none; mocap bodies where the model puts them).
    """

    states: np.ndarray
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    edits: Sequence[ModelEdit] = ()
    control: np.ndarray | None = None


class Expert(Protocol):
    """A scripted reference policy over a batch of worlds."""

    def reset(self, rows: np.ndarray) -> None:
        """Forgets the phases of the environments `rows` (new episodes)."""
        ...

    def act(self, world: World) -> np.ndarray:
        """Actions `(n, A)` in [-1, 1] for worlds of batch shape `(n,)`."""
        ...


class Judge(Protocol):
    """Decides success over time, where one moment does not show it ("for one second", "waves").

    Attributes:
        state: all that it remembers, one row per environment `(n, ...)`; getting and setting it is exact.
    """

    state: np.ndarray

    def reset(self, rows: np.ndarray) -> None:
        """Forgets the past of the environments `rows` (new episodes)."""
        ...

    def update(self, world: World) -> np.ndarray:
        """Sees the next step of all n environments; says which have succeeded now, bool `(n,)`."""
        ...


class HeldFor:
    """Success once the task's predicate has held without a break.

    Args:
        task: the task.
        n: number of environments.
        seconds: how long [s].
    """

    def __init__(self, task: Task, n: int, seconds: float) -> None:
        self.task, self.needed = task, max(1, round(seconds / task.control_dt_s))
        self.state = np.zeros(n)

    def reset(self, rows: np.ndarray) -> None:
        """New episodes in the environments `rows`."""
        self.state[rows] = 0.0

    def update(self, world: World) -> np.ndarray:
        """Counts the steps, bool `(n,)`."""
        self.state = np.where(self.task.success(world), self.state + 1.0, 0.0)
        return self.state >= self.needed


class Task(ABC):
    """Base of all simulated tasks.

    Subclasses give `name`, `quantities`, `observation`, `spec`, `start`, `success`; most other parts have
    defaults.

    Args:
        instruction: what the robot shall do, as a person would say it.
        control_dt_s: time between two actions [s].
        sim_dt_s: physics timestep [s]; divides `control_dt_s`. None keeps the model's own.
        episode_steps: actions per episode, after which it is truncated.
        aliases: published names of quantities, mapping alias -> path.
    """

    name: str
    quantities: Mapping[Quantity, Source]
    observation: Sequence[str]
    robot = "simulated"  # the kind of robot that acts, for datasets
    proprioception: Sequence[str] = ()  # the quantities that the robot itself senses: a camera policy's state
    morphology = ""  # which motion API (Language to Rewards) fits the robot
    action_description = "each component drives one actuator, linearly over its control range"

    def __init__(
        self,
        *,
        instruction: str,
        control_dt_s: float,
        episode_steps: int,
        sim_dt_s: float | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        if not instruction.strip():
            raise ConfigError(f"task '{self.name}' needs an instruction, such as 'Push the cube to the goal.'")
        if episode_steps < 1:
            raise ConfigError(f"task '{self.name}': episode_steps={episode_steps} must be at least 1")
        self.instruction, self.control_dt_s = instruction, float(control_dt_s)
        self.episode_steps, self._sim_dt_s, self.aliases = int(episode_steps), sim_dt_s, dict(aliases or {})

    @abstractmethod
    def spec(self) -> mujoco.MjSpec:
        """The MuJoCo model, without the sensors of the quantities."""

    @abstractmethod
    def start(self, rng: np.random.Generator, n: int) -> Start:
        """Draws the starts of n episodes."""

    @abstractmethod
    def success(self, world: World) -> np.ndarray:
        """Whether the task is done, bool `(...)`; with a `judge`, whether this moment is part of what it asks."""

    def judge(self, n: int) -> Judge | None:
        """Decides success over time for n environments; None where `success` of a moment is enough."""
        return None

    def terminated(self, world: World) -> np.ndarray:
        """Whether the episode has ended for good (a fall), bool `(...)`; success does not end an episode."""
        return np.zeros(world.batch_shape, dtype=bool)

    def control(self, action: np.ndarray, states: np.ndarray, last_control: np.ndarray) -> np.ndarray:
        """Maps actions in [-1, 1] `(n, A)` to MuJoCo controls `(n, nu)`; by default onto their range."""
        middle, half = self._control_range
        return middle + np.minimum(np.maximum(action, -1.0), 1.0) * half

    def bound_by(self, envelope: Envelope) -> None:
        """Keeps the commands of the robot's joints within an envelope from now on.

        Raises:
            ConfigError: the task commands no robot's joints, or others than the envelope bounds.
        """
        raise ConfigError(f"task '{self.name}' commands no robot's joints: no envelope bounds it, leave safety out")

    @cached_property
    def _control_range(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = self.model.actuator_ctrlrange.T.copy()
        return 0.5 * (low + high), 0.5 * (high - low)

    def expert(self, n: int) -> Expert:
        """A scripted reference policy for n environments."""
        raise ConfigError(f"task '{self.name}' has no scripted expert")

    def phase(self, world: World) -> np.ndarray:
        """What the robot is at, an index into `phases`, `(...)`: by default 0 until success, then 1."""
        return self.success(world).astype(np.int64)

    @property
    def phases(self) -> Sequence[Sequence[str]]:
        """For each phase, ways to say what the robot does in it and why; `{motive}` is the instruction."""
        return (("I {motive}.", "The task is open: I {motive}."), ("Done, I hold still.",))

    @property
    def has_expert(self) -> bool:
        """Whether `expert` is implemented."""
        return type(self).expert is not Task.expert

    @property
    def control_reads_state(self) -> bool:
        """Whether `control` depends on the states; a planner rolls out whole horizons at once where it does not."""
        return type(self).control is not Task.control

    @property
    def control_spec(self) -> int:
        """Which parts of MuJoCo's user state the controls are."""
        return int(mujoco.mjtState.mjSTATE_CTRL)

    @property
    def action_size(self) -> int:
        """Length A of an action."""
        return self.model.nu

    @cached_property
    def schema(self) -> Schema:
        """The readable quantities."""
        schema = Schema.of(self.quantities, self.aliases)
        for path in self.observation:
            if path not in schema.quantities:
                raise UnknownNameError("quantity", path, schema.quantities, f"observation of task {self.name}")
        return schema

    @cached_property
    def model(self) -> mujoco.MjModel:
        """The compiled model with the quantities' sensors."""
        spec = self.spec()
        for quantity, source in self.quantities.items():
            source.install(spec, quantity.path)
        model = spec.compile()
        if self._sim_dt_s is not None:
            model.opt.timestep = self._sim_dt_s
        return model

    @cached_property
    def n_substeps(self) -> int:
        """Physics steps per action."""
        ratio = self.control_dt_s / self.model.opt.timestep
        if abs(ratio - round(ratio)) > 1e-6 or round(ratio) < 1:
            raise ConfigError(
                f"task '{self.name}': control_dt_s={self.control_dt_s} is not a multiple of the physics"
                f" timestep {self.model.opt.timestep}"
            )
        return round(ratio)

    @cached_property
    def _readers(self) -> dict[str, tuple[tuple[int, ...], Reader]]:
        return {q.path: (q.shape, source.bind(self.model, q.path)) for q, source in self.quantities.items()}

    def readings(
        self, states: np.ndarray, sensors: np.ndarray, parameters: Mapping[str, np.ndarray], t0: np.ndarray
    ) -> Readings:
        """The quantities of n states, evaluated on access; the arrays must not be written afterwards."""
        return Readings(self._readers, Frames(states, sensors, parameters), t0, f"task '{self.name}'")

    def world(
        self,
        states: np.ndarray,
        sensors: np.ndarray,
        parameters: Mapping[str, np.ndarray],
        t0: np.ndarray,
        previous: World | None = None,
    ) -> World:
        """The world of n states, batch shape `(n,)`; quantities are evaluated when they are first read.

        Args:
            states: full physics states `(n, n_state)`, never written afterwards.
            sensors: `(n, nsensordata)` at these states (`BatchEngine.read`), never written afterwards.
            parameters: episode parameters by name, `(n, ...)`.
            t0: time at which each episode began `(n,)` [s].
            previous: the world one control step earlier.
        """
        return lazy_world(self.schema, self.readings(states, sensors, parameters, t0), previous)

    def world_values(
        self, states: np.ndarray, sensors: np.ndarray, parameters: Mapping[str, np.ndarray], t0: np.ndarray
    ) -> dict[str, np.ndarray]:
        """All quantities `(n, *shape)` of n states; `t0 (n,)` is the time at which each episode began [s]."""
        return dict(self.readings(states, sensors, parameters, t0))

    def observe(self, world: World) -> np.ndarray:
        """The policy's observation `(..., D)`: the quantities named in `observation`, flattened in order."""
        batch = world.batch_shape
        axes = len(batch) + 1
        parts = [peek(world, path) for path in self.observation]
        return np.concatenate([p if p.ndim == axes else p.reshape(*batch, -1) for p in parts], axis=-1)

    @property
    def observation_size(self) -> int:
        """Length D of an observation."""
        return sum(int(np.prod(self.schema[p].shape)) for p in self.observation)

    def home_state(self) -> np.ndarray:
        """Full physics state `(n_state,)` of the model's home keyframe (a copy)."""
        return self._home.copy()

    @cached_property
    def _home(self) -> np.ndarray:
        return initial_state(self.model)

    def description(self) -> TaskDescription:
        """What a reward writer is told about the task."""
        return TaskDescription(
            name=self.name,
            instruction=self.instruction,
            schema=self.schema,
            action_size=self.action_size,
            action_description=self.action_description,
            control_dt_s=self.control_dt_s,
            episode_steps=self.episode_steps,
            morphology=self.morphology,
        )

    def expert_reward(self) -> RewardProgram:
        """The reference reward: the function `reward` of the task's own module, as a program."""
        module = sys.modules[type(self).__module__]
        if not hasattr(module, "reward"):
            raise ConfigError(f"task '{self.name}': module {module.__name__} has no function 'reward'")
        return RewardProgram(
            source=inspect.getsource(module.reward), writer="expert", task=self.name, evaluation="batched"
        )
