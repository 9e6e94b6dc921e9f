"""Meta-World v3 (Yu et al. 2019, arXiv:1910.10897; McLean et al. 2025, arXiv:2505.11289) on the batch engine.

The `metaworld` package gives the models, the ranges of the starts and the scripted policies. Ours are the batched
stepping, exact reads, starts, rewards and success predicates, equal to the package's own environment
(`tests/conformance/test_metaworld_parity.py` states the tolerances).

Deviations:
- All environments share one model. Where the package moves a fixed body (a drawer's frame) in a model, we make it a
  mocap body, whose pose is a control.
- The observation after a start is that of the placed objects. The package returns it from before they were moved
  in those tasks that move a body without computing kinematics anew.
- The goal is always observed (`partially_observable=False`).
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import mujoco
import numpy as np

from embodied.core.errors import ConfigError
from embodied.core.quantities import Quantity
from embodied.core.reward import RewardProgram
from embodied.core.rotations import looking_at
from embodied.core.world import World
from embodied.sim.metaworld import shaping
from embodied.sim.reads import Computed, Frame, Parameter, Source, joint_id
from embodied.sim.task import Start, Task

MAX_OPENING_M = 0.1  # distance of the open fingers
_SETTLED = np.array([-1.0, 1.0])  # finger controls while the hand goes to its place
_HAND_QUATERNION = np.array([1.0, 0.0, 1.0, 0.0])
_WELD = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0])
_OBJECT_SLOTS, _SLOT = 2, 7
_S = mujoco.mjtState
_CAMERA_M, _CAMERA_TARGET_M, _CAMERA_FOVY_DEG = np.array([0.75, 0.075, 0.7]), np.array([0.0, 0.7, 0.12]), 40.0
_NEAR_M = 0.07  # from the grip to the thing: nearer than this the hand is at work
_SHAPING = (shaping.long_tail, shaping.gaussian, shaping.both, shaping.caged, shaping.gripped)


@dataclass(frozen=True)
class Layout:
    """Where things are at the start of n episodes.

    Attributes:
        goal: what the benchmark calls the target position `(n, 3)` [m, world].
        body: place of the task's `moved_body` `(n, 3)` [m, world], or None where it has none.
        joints: joint positions by joint name, `(n, k)` for the first k coordinates of a joint (three of a free
            joint leave its orientation as it came to rest); the joint's velocities are 0.
        parameters: further constants of the episode by name, `(n, ...)`.
    """

    goal: np.ndarray
    body: np.ndarray | None = None
    joints: Mapping[str, np.ndarray] = field(default_factory=dict)
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)


def hand_quantities() -> dict[Quantity, Source]:
    """The quantities that every Meta-World task has."""
    return {
        Quantity(
            "hand.position", (3,), "m", "world", "the hand (end effector), a few centimetres above the fingers' ends"
        ): Frame("body", "hand"),
        Quantity("fingers.left", (3,), "m", "world", "body of the left finger"): Frame("body", "leftclaw"),
        Quantity("fingers.right", (3,), "m", "world", "body of the right finger"): Frame("body", "rightclaw"),
        Quantity("hand.openness", (), "1", "-", "0 fingers closed to 1 fully open"): Computed(_openness),
        Quantity("fingers.left_pad", (3,), "m", "world", "gripping pad of the left finger"): Frame("body", "leftpad"),
        Quantity("fingers.right_pad", (3,), "m", "world", "gripping pad of the right finger"): Frame(
            "body", "rightpad"
        ),
        Quantity("fingers.left_end", (3,), "m", "world", "end of the left finger"): Frame("site", "leftEndEffector"),
        Quantity("fingers.right_end", (3,), "m", "world", "end of the right finger"): Frame("site", "rightEndEffector"),
        Quantity(
            "fingers.center", (3,), "m", "world", "point between the finger ends, where things are gripped"
        ): Computed(lambda v: 0.5 * (v["fingers.left_end"] + v["fingers.right_end"])),
        Quantity("start.fingers", (3,), "m", "world", "`fingers.center` at the start of the episode"): Parameter(
            "start.fingers"
        ),
    }


def goal_quantity(meaning: str) -> dict[Quantity, Source]:
    """The benchmark's target position; `meaning` says what shall be there."""
    return {Quantity("goal.position", (3,), "m", "world", meaning): Parameter("goal.position")}


def start_quantity(path: str, meaning: str) -> dict[Quantity, Source]:
    """A place `(3,)` that stays as it was at the start of the episode, e.g. `start.handle`."""
    return {Quantity(path, (3,), "m", "world", meaning): Parameter(path)}


def moved(path: str, by: Sequence[float]) -> Computed:
    """The quantity `path` plus a constant offset [m]."""
    offset = np.array(by, dtype=float)
    return Computed(lambda v: v[path] + offset)


def _openness(v: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.clip(np.linalg.norm(v["fingers.right"] - v["fingers.left"], axis=-1) / MAX_OPENING_M, 0.0, 1.0)


@dataclass(frozen=True)
class Slide:
    """A joint along which a task's thing travels from its start to where the task is done.

    Attributes:
        joint: its name.
        end: its position when the task is done [m].
        axis: displacement of the thing per metre of the joint, world frame.
    """

    joint: str
    end: float
    axis: tuple[float, float, float]


class MetaWorldTask(Task):
    """Base of the fifty tasks. A subclass gives `name`, `env_id`, `quantities`, `objects`, `layout` and `success`.

    Args:
        instruction: what the robot shall do.
        episode_steps: actions per episode; the benchmark's is 500.
        aliases: published names of quantities.
        start_fraction: (low, high) shares of the way to done at which the thing may start; None starts it where the
            benchmark does. Tasks of one scene then start alike, and only the instruction tells them apart.
    """

    slide: ClassVar[Slide | None] = None
    env_id: ClassVar[str]
    moved_body: ClassVar[str | None] = None
    # Per object the paths of its position and of its quaternion; None gives zeros in the quaternion's place, as the
    # benchmark does. An array is a constant quaternion.
    objects: ClassVar[tuple[tuple[str, str | np.ndarray | None], ...]]
    robot = "sawyer"
    proprioception = ("hand.position", "hand.openness")
    scalar_last: ClassVar[bool] = False  # the benchmark's observation has x, y, z, w in some tasks
    action_description = (
        "displacement of the hand along x, y, z (+-1 is +-1 cm) and, last, closing of the fingers (+1 closes, -1 opens)"
    )

    def __init__(
        self,
        *,
        instruction: str,
        episode_steps: int = 500,
        aliases: Mapping[str, str] | None = None,
        start_fraction: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(instruction=instruction, control_dt_s=0.0125, episode_steps=episode_steps, aliases=aliases)
        if start_fraction is not None and self.slide is None:
            raise ConfigError(f"task '{self.name}' has no slide: it takes no start_fraction")
        if start_fraction is not None and not 0.0 <= start_fraction[0] <= start_fraction[1] < 1.0:
            raise ConfigError(f"start_fraction={tuple(start_fraction)} must rise within [0, 1)")
        self.start_fraction = start_fraction

    def layout(self, draw: np.ndarray) -> Layout:
        """Where things are, for draws `(n, d)` of the benchmark's random vector."""
        raise NotImplementedError

    def accepts(self, draw: np.ndarray) -> np.ndarray:
        """Which draws `(n, d)` the benchmark does not draw again, bool `(n,)`."""
        return np.ones(len(draw), dtype=bool)

    @cached_property
    def benchmark(self) -> Any:
        """The package's own environment: source of the model file, ranges and the resting hand."""
        try:
            from metaworld.env_dict import ALL_V3_ENVIRONMENTS
        except ImportError as error:
            raise ConfigError(
                f"task '{self.name}' needs the package metaworld ({error}): pip install metaworld"
            ) from None
        env = ALL_V3_ENVIRONMENTS[self.env_id]()
        env._partially_observable, env._freeze_rand_vec, env._set_task_called = False, False, True
        env.seeded_rand_vec = True
        env.seed(0)
        return env

    def spec(self) -> mujoco.MjSpec:
        """The package's model, its movable prop as a mocap body, the hand's weld as the package sets it."""
        return self.prepared(mujoco.MjSpec.from_file(self.benchmark.model_name))

    def prepared(self, spec: mujoco.MjSpec) -> mujoco.MjSpec:
        """Prop and weld of a package's model, changed in place; a joint without a name gets its body's.

        The camera `front` stands where the package's `corner4` does, upright.
        """
        for body in spec.bodies:
            for joint in body.joints:
                joint.name = joint.name or body.name
        if self.moved_body is not None:
            spec.body(self.moved_body).mocap = True
        for equality in spec.equalities:
            if equality.type == mujoco.mjtEq.mjEQ_WELD:
                equality.data = _WELD
        spec.worldbody.add_camera(
            name="front", pos=_CAMERA_M, quat=looking_at(_CAMERA_M, _CAMERA_TARGET_M), fovy=_CAMERA_FOVY_DEG
        )
        return spec

    @property
    def control_spec(self) -> int:
        """The finger motors and the poses of the mocap bodies."""
        return int(_S.mjSTATE_CTRL | _S.mjSTATE_MOCAP_POS | _S.mjSTATE_MOCAP_QUAT)

    @property
    def action_size(self) -> int:
        """Three displacements and the fingers."""
        return 4

    def control(self, action: np.ndarray, states: np.ndarray, last_control: np.ndarray) -> np.ndarray:
        """Moves the hand's mocap body, within its bounds, and drives both fingers alike."""
        position, quaternion = self._hand_columns
        control = last_control.copy()
        low, high = self._hand_bounds
        step = np.clip(action[:, :3], -1.0, 1.0) * self.benchmark.action_scale
        control[:, position] = np.clip(last_control[:, position] + step, low, high)
        control[:, quaternion] = _HAND_QUATERNION
        control[:, 0], control[:, 1] = action[:, 3], -action[:, 3]
        return control

    @cached_property
    def _hand_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.benchmark.mocap_low), np.array(self.benchmark.mocap_high)

    @cached_property
    def _hand_columns(self) -> tuple[slice, slice]:
        return self._mocap_columns("mocap")

    def _mocap_columns(self, body: str) -> tuple[slice, slice]:
        """Columns of a mocap body's position and quaternion in a control."""
        model = self.model
        index = int(model.body_mocapid[model.body(body).id])
        position = model.nu + 3 * index
        quaternion = model.nu + 3 * model.nmocap + 4 * index
        return slice(position, position + 3), slice(quaternion, quaternion + 4)

    @cached_property
    def _rested(self) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """State with the hand at its place, the control that holds it there, and what rewards remember of it."""
        env, model = self.benchmark, self.model
        env.reset(seed=0)
        state, control = self.home_state(), np.zeros(mujoco.mj_stateSize(model, self.control_spec))
        state[1 : 1 + model.nq] = env.data.qpos
        state[1 + model.nq : 1 + model.nq + model.nv] = env.data.qvel
        data = mujoco.MjData(model)
        mujoco.mj_getState(model, data, control, self.control_spec)
        position, quaternion = self._hand_columns
        control[:2], control[position], control[quaternion] = _SETTLED, env.data.mocap_pos[0], _HAND_QUATERNION
        return state, control, {"start.fingers": np.array(env.init_tcp)}

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """Draws the benchmark's random vectors and lays things out."""
        space = self.benchmark._random_reset_space
        draw = rng.uniform(space.low, space.high, (n, space.low.size))
        while not (good := self.accepts(draw)).all():
            draw[~good] = rng.uniform(space.low, space.high, (int((~good).sum()), space.low.size))
        if self.start_fraction is None:
            return self.start_from(draw)
        return self.start_from(draw, rng.uniform(*self.start_fraction, n))

    def start_from(self, draw: np.ndarray, fraction: np.ndarray | None = None) -> Start:
        """The starts of given random vectors `(n, d)`, the thing already `fraction (n,)` of its way to done."""
        state, control, remembered = self._rested
        n, model, layout = len(draw), self.model, self.layout(draw)
        if fraction is not None:
            layout = self._moved_on(layout, fraction)
        states, controls = np.tile(state, (n, 1)), np.tile(control, (n, 1))
        for joint, value in layout.joints.items():
            index = joint_id(model, joint)
            value = np.asarray(value, dtype=float).reshape(n, -1)
            first, velocity = 1 + model.jnt_qposadr[index], 1 + model.nq + model.jnt_dofadr[index]
            states[:, first : first + value.shape[1]] = value
            states[:, velocity : velocity + (6 if model.jnt_type[index] == mujoco.mjtJoint.mjJNT_FREE else 1)] = 0.0
        if self.moved_body is not None:
            assert layout.body is not None, "a task with a moved body says where it is"
            controls[:, self._mocap_columns(self.moved_body)[0]] = layout.body
        parameters = {name: np.tile(value, (n, 1)) for name, value in remembered.items()}
        return Start(states, {**parameters, "goal.position": layout.goal, **layout.parameters}, control=controls)

    def _moved_on(self, layout: Layout, fraction: np.ndarray) -> Layout:
        assert self.slide is not None
        joint, first = self.slide.joint, layout.joints.get(self.slide.joint, np.zeros(len(fraction)))
        step = fraction * (self.slide.end - first)
        parameters = dict(layout.parameters)
        if "start.handle" in parameters:
            parameters["start.handle"] = parameters["start.handle"] + step[:, None] * np.array(self.slide.axis)
        return replace(layout, joints={**layout.joints, joint: first + step}, parameters=parameters)

    def observe(self, world: World) -> np.ndarray:
        """The benchmark's 39 numbers: this moment's 18, those of the step before, the goal; `(..., 39)`."""
        now, before = self._frame(world), self._frame(world.previous)
        return np.concatenate([now, before, world.quantity("goal.position")], axis=-1)

    def _frame(self, world: World) -> np.ndarray:
        """Hand, openness, and two slots of 7 for objects, `(..., 18)`."""
        batch = world.batch_shape
        low, high = self.benchmark._HAND_SPACE.low, self.benchmark._HAND_SPACE.high
        parts = [np.clip(world.quantity("hand.position"), low, high), world.quantity("hand.openness")[..., None]]
        for position, quaternion in self.objects:
            parts.append(world.quantity(position))
            if isinstance(quaternion, str):
                given = world.quantity(quaternion)
                parts.append(_scalar_last(given) if self.scalar_last else given)
            else:
                constant = np.zeros(4) if quaternion is None else quaternion
                parts.append(np.broadcast_to(constant, (*batch, 4)))
        parts.append(np.zeros((*batch, _SLOT * (_OBJECT_SLOTS - len(self.objects)))))
        return np.concatenate(parts, axis=-1)

    @property
    def observation(self) -> Sequence[str]:  # type: ignore[override]
        """The quantities that the observation is made of."""
        paths = [path for pair in self.objects for path in pair if isinstance(path, str)]
        return ("hand.position", "hand.openness", *paths, "goal.position")

    @property
    def observation_size(self) -> int:
        """39, as the benchmark's."""
        return 2 * (4 + _SLOT * _OBJECT_SLOTS) + 3

    def phase(self, world: World) -> np.ndarray:
        """0 until the grip is near the thing, 1 while the hand works on it, 2 after success."""
        gap = world.quantity(self.objects[0][0]) - world.quantity("fingers.center")
        near = np.linalg.norm(gap, axis=-1) < _NEAR_M
        return np.where(self.success(world), 2, near.astype(np.int64))

    @property
    def phases(self) -> Sequence[Sequence[str]]:
        """Go to the thing, do the task, hold still."""
        thing = self.objects[0][0].partition(".")[0]
        return (
            (
                f"The hand is away from the {thing}: I go there first.",
                f"I move to the {thing} to {{motive}}.",
                f"First I reach for the {thing}.",
            ),
            (
                f"The hand is at the {thing}: now I {{motive}}.",
                f"I am at the {thing}, so I {{motive}}.",
                f"I work on the {thing} to {{motive}}.",
            ),
            ("Done, I hold still.", "The task is finished: I stay here."),
        )

    def expert(self, n: int) -> PackagePolicy:
        """The package's scripted policy."""
        return PackagePolicy(self, n)

    def expert_reward(self) -> RewardProgram:
        """The benchmark's own reward: the module's `reward` with the shaping functions that it calls."""
        module = sys.modules[type(self).__module__]
        source = "\n\n".join(inspect.getsource(function) for function in (*_SHAPING, module.reward))
        return RewardProgram(source=source, writer="expert", task=self.name, evaluation="batched")


def _scalar_last(quaternion: np.ndarray) -> np.ndarray:
    """x, y, z, w with the largest component positive, as scipy gives the quaternion of a matrix; `(..., 4)`."""
    largest = np.take_along_axis(quaternion, np.abs(quaternion).argmax(axis=-1)[..., None], axis=-1)
    return np.roll(quaternion * np.where(largest < 0.0, -1.0, 1.0), -1, axis=-1)


class PackagePolicy:
    """One of the package's scripted policies for n environments; it keeps no memory.

    Args:
        task: the task.
        n: number of environments.
    """

    def __init__(self, task: MetaWorldTask, n: int) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        self.task, self.n, self.policy = task, n, ENV_POLICY_MAP[task.env_id]()

    def reset(self, rows: np.ndarray) -> None:
        """Nothing to forget."""

    def act(self, world: World) -> np.ndarray:
        """Actions `(n, 4)` in [-1, 1]."""
        observation = self.task.observe(world)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Constant")  # the package's own remark on its own gains
            return np.clip([self.policy.get_action(row) for row in observation], -1.0, 1.0)
