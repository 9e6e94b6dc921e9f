"""What the tasks share in which the arm moves one joint of a fixed prop: a lever, a door, a drawer, a button."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import mujoco
import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.engine import initial_state
from embodied.sim.reads import Computed, Source
from embodied.sim.tabletop import ScriptedExpert, TabletopTask, apart, comfortable_pitch, relative
from embodied.sim.task import Start

_S = mujoco.mjtState


@dataclass(kw_only=True, eq=False, repr=False)
class ArticulatedTask(TabletopTask):
    """Base of the tasks with a prop that stands somewhere on the table and has one joint.

    A subclass with fields of its own, or with other defaults, is decorated in the same way: they are then part of its
    constructor, whose signature is what a wrong key in a configuration is answered with.

    Args:
        instruction: what the robot shall do.
        spread_m: half widths of the prop's places in x and y [m].
        spread_rad: half width of its yaw [rad].
        episode_steps: actions per episode.
        aliases: published names of quantities.

    Attributes:
        base_body: the prop's fixed body, a mocap body: its pose is part of the controls, which a start sets.
        joint: the joint that the robot moves.
        jaw_rad: angle of the moving jaw at the start, before the noise [rad].
    """

    base_body: ClassVar[str]
    joint: ClassVar[str]
    jaw_rad: ClassVar[float]

    instruction: str
    spread_m: tuple[float, float] = (0.03, 0.03)
    spread_rad: float = 0.1
    episode_steps: int = 100
    aliases: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        super().__init__(instruction=self.instruction, episode_steps=self.episode_steps, aliases=self.aliases)

    @property
    def control_spec(self) -> int:
        """The servos' velocities and the pose of the prop."""
        return int(_S.mjSTATE_CTRL | _S.mjSTATE_MOCAP_POS | _S.mjSTATE_MOCAP_QUAT)

    @cached_property
    def _home_control(self) -> np.ndarray:
        return initial_state(self.model, self.control_spec)

    def control(self, action: np.ndarray, states: np.ndarray, last_control: np.ndarray) -> np.ndarray:
        """The arm's commands; the prop stays where it is."""
        control = last_control.copy()
        control[:, :6] = super().control(action, states, last_control)
        return control

    def start(self, rng: np.random.Generator, n: int, position: np.ndarray | float = 0.0) -> Start:
        """The arm near home, the prop at a drawn place, its joint at rest at `position (n,)` [m or rad]."""
        states = self.noisy_home(rng, n, jaw_rad=self.jaw_rad)
        states[:, 1 + self.model.joint(self.joint).qposadr[0]] = position
        control = np.tile(self._home_control, (n, 1))
        place, heading = control[:, 6:9], control[:, 9:13]
        place[:, :2] += rng.uniform(-1.0, 1.0, (n, 2)) * np.array(self.spread_m)
        half = 0.5 * rng.uniform(-self.spread_rad, self.spread_rad, n)
        heading[:] = np.stack([np.cos(half), np.zeros(n), np.zeros(n), np.sin(half)], axis=-1)
        return Start(states, control=control)


def to_handle(prop: str) -> dict[Quantity, Source]:
    """Where the handle of `prop` is, seen from the gripper."""
    return {
        Quantity("gripper.to_handle", (3,), "m", "world", "handle position minus gripper position"): relative(
            f"{prop}.handle_position", "gripper.position"
        )
    }


def swing_direction(handle: str, axis: str, sign: float) -> Computed:
    """Unit vector of the way of the point `handle` round the vertical axis through `axis`.

    Args:
        handle: path of the moving point.
        axis: path of a point on the axis.
        sign: 1.0 where the joint's angle grows anticlockwise seen from above, -1.0 where clockwise.
    """

    def direction(v: Mapping[str, np.ndarray]) -> np.ndarray:
        arm = v[handle] - v[axis]
        way = np.stack([-sign * arm[:, 1], sign * arm[:, 0], np.zeros(len(arm))], axis=-1)
        return way / np.linalg.norm(way, axis=-1, keepdims=True)

    return Computed(direction)


class BarExpert(ScriptedExpert):
    """Takes a handle bar between the jaws from above and moves it along its joint; anew when the bar got lost.

    Phases: 0 above the bar, 1 down around it, 2 along the joint.

    Attributes:
        jaw_rad: angle of the moving jaw [rad].
    """

    jaw_rad: float

    def plan(self, world: World) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], bool]:
        """The tool's aim in each phase `(3,)` [m], and whether the bar is outside the jaws."""
        raise NotImplementedError

    def target(self, row: int, world: World):
        """The aim of the phase that environment `row` has come to."""
        aims, lost = self.plan(world)
        tool, phase, steps = world.quantity("gripper.position"), self.phase[row], self.steps_in_phase[row]
        if (phase == 0 and apart(tool, aims[0]) < 0.012 + 0.001 * steps) or (
            phase == 1 and apart(tool, aims[1]) < 0.010
        ):
            self.next_phase(row)
        elif (phase == 1 and steps > 15) or (phase == 2 and lost):
            self.phase[row] = self.steps_in_phase[row] = 0
        self.stride_m[row] = 0.03 if self.phase[row] == 1 else 0.05
        return aims[self.phase[row]], comfortable_pitch(tool[0]), self.jaw_rad
