"""Push cube: slide a cube over the table into a goal circle. Also what all cube tasks share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.reads import Computed, FreeBody, Parameter, Source
from embodied.sim.tabletop import (
    ARM_OBSERVATION,
    SHOULDER_X,
    UPRIGHT_ROLL,
    ScriptedExpert,
    TabletopTask,
    apart,
    arm_quantities,
    comfortable_pitch,
    constant,
    relative,
)
from embodied.sim.task import Start

CUBE_HALF_M = 0.014
_FINGERS = np.array([0.0, 0.0, -0.012])  # from the grasp point to between the nearly shut jaws [m], tool frame


def reward(world, action):
    """Come behind the cube, slide it to the goal, let it rest there."""
    gap = np.linalg.norm(world.gripper.to_push_position, axis=-1)
    distance = np.linalg.norm(world.cube.to_goal[..., :2], axis=-1)
    arrived = distance < world.goal.radius - 0.01
    return {
        "behind": np.where(arrived, 1.0, 1.0 - np.tanh(8.0 * gap)),
        "closer": 4.0 * (1.0 - np.tanh(8.0 * distance)),
        "done": np.where(arrived, 2.0, 0.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


def cube_quantities() -> dict[Quantity, Source]:
    """The quantities of all cube tasks, the arm's included."""
    return {
        **arm_quantities(),
        Quantity(
            "cube.position", (3,), "m", "world", "centre of the cube; z is 0.014 when it lies on the table"
        ): FreeBody("cube_free", "position"),
        Quantity("cube.quaternion", (4,), "1", "world", "orientation of the cube, w x y z"): FreeBody(
            "cube_free", "quaternion"
        ),
        Quantity("cube.velocity", (3,), "m/s", "world", "velocity of the cube's centre"): FreeBody(
            "cube_free", "linear_velocity"
        ),
        Quantity("cube.half_size", (), "m", "-", "half the length of the cube's edges"): constant(CUBE_HALF_M),
        Quantity("gripper.to_cube", (3,), "m", "world", "cube position minus gripper position"): relative(
            "cube.position", "gripper.position"
        ),
    }


def goal_quantities(meaning: str) -> dict[Quantity, Source]:
    """The goal of a cube; `meaning` describes it."""
    return {
        Quantity("goal.position", (3,), "m", "world", meaning): Parameter("goal.position"),
        Quantity("cube.to_goal", (3,), "m", "world", "goal position minus cube position"): relative(
            "goal.position", "cube.position"
        ),
    }


@dataclass(kw_only=True, eq=False, repr=False)
class CubeTask(TabletopTask):
    """Base of the cube tasks: one cube of 28 mm and 25 g on the table.

    Args:
        instruction: what the robot shall do.
        cube_low_m: lower corner (x, y) of the area where the cube starts [m], world frame.
        cube_high_m: upper corner.
        cube_yaw_rad: half width of the cube's yaw about the radial direction from the arm [rad].
        episode_steps: actions per episode.
        aliases: published names of quantities.

    Attributes:
        arm_rad: angles of the five arm joints at the start, before the noise [rad]; None is the home pose.
        jaw_rad: angle of the moving jaw at the start, before the noise [rad].
    """

    scene = "cube"
    arm_rad: ClassVar[tuple[float, ...] | None] = None
    jaw_rad: ClassVar[float] = 0.6

    instruction: str
    cube_low_m: tuple[float, float] = (0.17, -0.07)
    cube_high_m: tuple[float, float] = (0.25, 0.07)
    cube_yaw_rad: float = 0.4
    episode_steps: int = 100
    aliases: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        super().__init__(instruction=self.instruction, episode_steps=self.episode_steps, aliases=self.aliases)

    def place_cube(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """States `(n, n_state)` with the arm near home and the cube lying on the table; the cubes' places `(n, 3)`."""
        states = self.noisy_home(rng, n, arm_rad=self.arm_rad, jaw_rad=self.jaw_rad)
        place = np.full((n, 3), CUBE_HALF_M)
        place[:, :2] = rng.uniform(self.cube_low_m, self.cube_high_m, (n, 2))
        yaw = np.arctan2(place[:, 1], place[:, 0]) + rng.uniform(-self.cube_yaw_rad, self.cube_yaw_rad, n)
        start = 1 + self.model.joint("cube_free").qposadr[0]
        states[:, start : start + 3] = place
        states[:, start + 3 : start + 7] = 0.0
        states[:, start + 3], states[:, start + 6] = np.cos(0.5 * yaw), np.sin(0.5 * yaw)
        return states, place


def _push_position(v: Mapping[str, np.ndarray]) -> np.ndarray:
    """2 cm behind the cube's centre as seen from the goal, 25 mm above the table."""
    way = v["cube.to_goal"][:, :2]
    way = way / np.maximum(np.linalg.norm(way, axis=-1, keepdims=True), 1e-6)
    return np.column_stack([v["cube.position"][:, :2] - 0.02 * way, np.full(len(way), 0.025)])


@dataclass(kw_only=True, eq=False, repr=False)
class PushCube(CubeTask):
    """The cube shall come to rest in a goal circle on the table.

    Args:
        tolerance_m: radius around the goal within which the cube's centre must rest [m].
        goal_distance_m: nearest and furthest goal from the cube [m].
        goal_cone_rad: half angle of the cone of goals about straight away from the arm [rad].

    The other arguments are those of `CubeTask`.
    """

    name = "push_cube"
    # Drawn back, low over the table, the nearly shut jaws side by side across the way ahead.
    arm_rad = (0.0, -1.03, 1.03, 1.56, UPRIGHT_ROLL + 1.5708)
    jaw_rad = 0.0
    quantities = {
        **cube_quantities(),
        **goal_quantities("where the cube shall rest, on the table (z = 0.014)"),
        Quantity("goal.radius", (), "m", "-", "the cube counts as there when its centre is this close"): Parameter(
            "goal.radius"
        ),
        Quantity(
            "cube.push_position", (3,), "m", "world", "2 cm behind the cube as seen from the goal: push from here"
        ): Computed(_push_position),
        Quantity(
            "gripper.to_push_position", (3,), "m", "world", "push position of the cube minus gripper position"
        ): relative("cube.push_position", "gripper.position"),
    }
    observation = (
        *ARM_OBSERVATION,
        "cube.position",
        "cube.quaternion",
        "cube.velocity",
        "gripper.to_cube",
        "gripper.to_push_position",
        "goal.position",
        "cube.to_goal",
    )

    tolerance_m: float = 0.03
    goal_distance_m: tuple[float, float] = (0.08, 0.14)
    goal_cone_rad: float = 0.7

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """The cube in its area; the goal in a cone in front of it."""
        states, cube = self.place_cube(rng, n)
        distance = rng.uniform(*self.goal_distance_m, n)
        away = np.arctan2(cube[:, 1], cube[:, 0] - SHOULDER_X)
        angle = away + rng.uniform(-self.goal_cone_rad, self.goal_cone_rad, n)
        offset = np.stack([np.cos(angle), np.sin(angle), np.zeros(n)], axis=-1)
        goal = cube + distance[:, None] * offset
        return Start(states, {"goal.position": goal, "goal.radius": np.full(n, self.tolerance_m)})

    def success(self, world: World) -> np.ndarray:
        """The cube's centre is inside the circle, on the table and slower than 5 cm/s."""
        near = np.linalg.norm(world.cube.to_goal[..., :2], axis=-1) < self.tolerance_m
        lies = np.abs(world.cube.position[..., 2] - CUBE_HALF_M) < 0.01
        return near & lies & (np.linalg.norm(world.cube.velocity, axis=-1) < 0.05)

    def expert(self, n: int) -> ScriptedExpert:
        """Behind the cube, down, both jaws across the way, forward along the line to the goal."""
        return _Push(self, n)


class _Push(ScriptedExpert):
    """Phases: 0 above the place behind the cube, 1 down, 2 push, 3 leave the cube alone."""

    def target(self, row: int, world: World):
        cube, tool = world.quantity("cube.position"), world.quantity("gripper.position")
        way = world.quantity("cube.to_goal")[:2]
        left = float(np.linalg.norm(way))
        ahead = np.append(way / max(left, 1e-6), 0.0)
        if left > 0.02 or self.phase[row] < 2:
            self._turn(row, np.arctan2(ahead[1], ahead[0]) - np.arctan2(tool[1], tool[0] - SHOULDER_X))
        finger = self.arm.frame(world.quantity("arm.joint_positions")) @ _FINGERS
        place, behind = tool + finger, cube - 0.045 * ahead
        along = float((place - cube)[:2] @ ahead[:2])
        aside = (place - cube)[:2] - along * ahead[:2]
        self._advance(row, apart(place[:2], behind[:2]), place[2], float(np.linalg.norm(aside)), left)
        if self.phase[row] == 3:
            away = tool - 0.01 * ahead + np.array([0.0, 0.0, 0.02])
            return away if tool[2] < 0.08 else tool, comfortable_pitch(tool[0]), 0.0
        aim = behind + np.array([0.0, 0.0, 0.06 if self.phase[row] == 0 else 0.008])
        if self.phase[row] == 2:
            aim[:2] = place[:2] + min(left, 0.025) * ahead[:2] - 0.8 * aside
        self.stride_m[row] = 0.05 if self.phase[row] < 2 else 0.012
        return aim - finger, comfortable_pitch(tool[0]), 0.0

    def _advance(self, row: int, from_behind: float, height: float, aside: float, left: float) -> None:
        """Changes the phase; all lengths in metres."""
        phase = self.phase[row]
        if (phase == 0 and from_behind < 0.015) or (phase == 1 and height < 0.03) or (phase == 2 and left < 0.013):
            self.next_phase(row)
        elif (phase == 2 and aside > 0.02) or (phase == 3 and left > 0.022 and self.steps_in_phase[row] > 4):
            self.phase[row] = 0

    def _turn(self, row: int, angle: float) -> None:
        """Rolls the wrist so that the jaws stand across a way at `angle` [rad] from the arm's plane."""
        across = (angle + np.pi) % np.pi - np.pi / 2
        self.roll[row] = UPRIGHT_ROLL + across
