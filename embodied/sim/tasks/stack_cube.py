"""Stack cube: put one cube on another and let go. Counterpart of ManiSkill2's StackCube."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.reads import Computed, FreeBody
from embodied.sim.tabletop import ARM_OBSERVATION, ScriptedExpert, apart, comfortable_pitch, relative
from embodied.sim.task import Start
from embodied.sim.tasks.lift_cube import GraspExpert, height_quantity
from embodied.sim.tasks.push_cube import CUBE_HALF_M, CubeTask, cube_quantities

SIDE_M = 2.0 * CUBE_HALF_M


def reward(world, action):
    """Grasp the cube, carry it over the other one, set it down, open the jaws."""
    distance = np.linalg.norm(world.gripper.to_cube, axis=-1)
    left = np.linalg.norm(world.cube.to_place, axis=-1)
    closing = np.where(distance < 0.025, 1.0 - np.clip(world.gripper.jaw_angle, 0.0, 0.6) / 0.6, 0.0)
    held = (distance < 0.035) & (world.cube.height > 0.005)
    placed = left < 0.012
    return {
        "near": np.where(placed, 1.0, 1.0 - np.tanh(10.0 * distance)),
        "grasp": np.where(placed, 0.5, 0.5 * closing),
        "raised": np.where(held | placed, 0.5 + 20.0 * np.clip(world.cube.height, 0.0, 0.03), 0.0),
        "carried": np.where(held | placed, 4.0 * (1.0 - np.tanh(6.0 * left)), 0.0),
        "released": np.where(placed, 2.0 + 2.0 * np.tanh(20.0 * distance), 0.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


@dataclass(kw_only=True, eq=False, repr=False)
class StackCube(CubeTask):
    """The red cube shall rest on the green one, let go.

    Args:
        tolerance_m: distance of the cube's centre from its place on the other cube that counts as success [m]; at half
            an edge the centre still stands over the other cube.
        gap_m: nearest and furthest distance between the two cubes at the start [m].

    The other arguments are those of `CubeTask`.
    """

    name, scene = "stack_cube", "stack"
    quantities = {
        **cube_quantities(),
        **height_quantity(),
        Quantity("base_cube.position", (3,), "m", "world", "centre of the green cube, the lower one"): FreeBody(
            "base_cube_free", "position"
        ),
        Quantity("base_cube.velocity", (3,), "m/s", "world", "velocity of the green cube"): FreeBody(
            "base_cube_free", "linear_velocity"
        ),
        Quantity("place.position", (3,), "m", "world", "where the cube's centre is when it lies on the green one"): (
            Computed(lambda v: v["base_cube.position"] + np.array([0.0, 0.0, SIDE_M]))
        ),
        Quantity("cube.to_place", (3,), "m", "world", "place position minus cube position"): relative(
            "place.position", "cube.position"
        ),
    }
    observation = (
        *ARM_OBSERVATION,
        "cube.position",
        "cube.quaternion",
        "cube.velocity",
        "gripper.to_cube",
        "base_cube.position",
        "cube.to_place",
    )

    tolerance_m: float = 0.014
    gap_m: tuple[float, float] = (0.07, 0.10)

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """The red cube in its area, the green one beside it, on the side of the middle."""
        states, cube = self.place_cube(rng, n)
        side = np.where(cube[:, 1] > 0.0, -1.0, 1.0)
        angle = side * rng.uniform(0.35 * np.pi, 0.65 * np.pi, n)
        gap = rng.uniform(*self.gap_m, n)
        start = 1 + self.model.joint("base_cube_free").qposadr[0]
        states[:, start : start + 2] = cube[:, :2] + gap[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        states[:, start + 2] = CUBE_HALF_M
        return Start(states)

    def success(self, world: World) -> np.ndarray:
        """The cube lies on the other one, both rest, and the jaws have let go (grasp point 3 cm away)."""
        there = np.linalg.norm(world.cube.to_place, axis=-1) < self.tolerance_m
        still = np.linalg.norm(world.cube.velocity, axis=-1) < 0.02
        still &= np.linalg.norm(world.base_cube.velocity, axis=-1) < 0.02
        return there & still & (np.linalg.norm(world.gripper.to_cube, axis=-1) > 0.03)

    def expert(self, n: int) -> ScriptedExpert:
        """Grasp, over the other cube, down, open, up."""
        return _Stack(self, n)


class _Stack(GraspExpert):
    """Phases: 0 to 2 as in `GraspExpert`, 3 up and over the green cube, 4 down onto it, 5 open, 6 up."""

    def target(self, row: int, world: World):
        """Where to go, by phase."""
        cube, tool = world.quantity("cube.position"), world.quantity("gripper.position")
        phase, place = self.phase[row], world.quantity("place.position")
        if phase < 3:
            return super().target(row, world)
        aside, steps = apart(cube[:2], place[:2]), self.steps_in_phase[row]
        lost = apart(cube, tool) > 0.035 if phase < 5 else phase == 6 and steps > 8 and apart(cube, place) > 0.02
        if lost:
            self.phase[row] = self.steps_in_phase[row] = 0
        elif (
            (phase == 3 and aside < 0.003 and cube[2] > place[2] + 0.012)
            or (phase == 4 and (cube[2] < place[2] + 0.002 or steps > 25))
            or (phase == 5 and steps >= 6)
        ):
            self.next_phase(row)
        phase = self.phase[row]
        if phase == 0:
            return super().target(row, world)
        pitch = comfortable_pitch(tool[0])
        self.stride_m[row] = (0.04, 0.015, 0.02, 0.03)[phase - 3]
        if phase == 6:
            return tool + np.array([0.0, 0.0, 0.05]), pitch, 0.6
        if phase == 5:
            return tool, pitch, 0.5
        wanted = place + np.array([0.0, 0.0, 0.02 if phase == 3 else 0.0])
        if phase == 3 and cube[2] < place[2] + 0.01:
            wanted[:2] = cube[:2]  # first straight up
        return tool + wanted - cube, pitch, -0.1
