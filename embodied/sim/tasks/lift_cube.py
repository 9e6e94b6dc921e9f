"""Lift cube: grasp a cube and raise it. Also how both grasping tasks judge a grasp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.reads import Computed
from embodied.sim.tabletop import ARM_OBSERVATION, UPRIGHT_ROLL, ScriptedExpert, apart, comfortable_pitch
from embodied.sim.task import Start
from embodied.sim.tasks.push_cube import CUBE_HALF_M, CubeTask, cube_quantities


def reward(world, action):
    """Bring the open jaws around the cube, close them on it, raise it."""
    distance = np.linalg.norm(world.gripper.to_cube, axis=-1)
    closing = np.where(distance < 0.025, 1.0 - np.clip(world.gripper.jaw_angle, 0.0, 0.6) / 0.6, 0.0)
    height = np.where(distance < 0.035, np.clip(world.cube.height, 0.0, 0.1), 0.0)
    return {
        "near": 1.0 - np.tanh(10.0 * distance),
        "grasp": 0.5 * closing,
        "raised": 40.0 * height,
        "done": np.where(height > 0.08 - 0.014, 2.0, 0.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


def height_quantity() -> dict:
    """How high the cube is."""
    return {
        Quantity(
            "cube.height", (), "m", "-", "gap between the table and the cube's lowest side; 0 when it lies"
        ): Computed(lambda v: v["cube.position"][:, 2] - CUBE_HALF_M)
    }


@dataclass(kw_only=True, eq=False, repr=False)
class LiftCube(CubeTask):
    """The cube's centre shall be raised above `height_m`, held between the jaws.

    Args:
        height_m: height of the cube's centre above the table that counts as lifted [m].

    The other arguments are those of `CubeTask`.
    """

    name = "lift_cube"
    quantities = {**cube_quantities(), **height_quantity()}
    observation = (
        *ARM_OBSERVATION,
        "cube.position",
        "cube.quaternion",
        "cube.velocity",
        "gripper.to_cube",
    )

    height_m: float = 0.08

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """The cube lies somewhere in its area, the jaws are open."""
        return Start(self.place_cube(rng, n)[0])

    def success(self, world: World) -> np.ndarray:
        """The cube is high enough, at the grasp point, and moves with the gripper: a thrown cube does not count."""
        return (world.cube.position[..., 2] > self.height_m) & held(world)

    def expert(self, n: int) -> ScriptedExpert:
        """Above the cube, down, close, up."""
        return GraspExpert(self, n)


def held(world: World) -> np.ndarray:
    """Whether the cube is at the grasp point (within 3 cm) and moves with it (within 10 cm/s), bool `(...)`."""
    near = np.linalg.norm(world.gripper.to_cube, axis=-1) < 0.03
    along = np.linalg.norm(world.cube.velocity - world.gripper.velocity, axis=-1) < 0.10
    return near & along


class GraspExpert(ScriptedExpert):
    """Phases: 0 above the cube, 1 down around it, 2 close the jaws, 3 carry it to `destination`."""

    def destination(self, world: World) -> np.ndarray:
        """Where the held cube shall go `(3,)` [m]."""
        return np.append(world.quantity("cube.position")[:2], 0.13)

    def target(self, row: int, world: World):
        """Open above, around, shut, carry; anew from above when the cube got lost."""
        cube, tool = world.quantity("cube.position"), world.quantity("gripper.position")
        if self.phase[row] < 2:
            self._align(row, world)
        self._advance(row, cube, tool)
        phase = self.phase[row]
        self.stride_m[row] = (0.05, 0.03, 0.03, 0.03)[phase]
        if phase == 0:
            return cube + np.array([0.0, 0.0, 0.06]), comfortable_pitch(tool[0]), 0.6
        around = np.append(cube[:2], 0.019)
        if phase == 1:
            return around, comfortable_pitch(tool[0]), 0.6
        if phase == 2:
            return np.append(tool[:2], 0.019), comfortable_pitch(tool[0]), -0.1
        # High up the wrist cannot point straight down.
        pitch = comfortable_pitch(tool[0]) - 4.0 * max(tool[2] - 0.05, 0.0)
        return tool + self.destination(world) - cube, pitch, -0.1

    def _advance(self, row: int, cube: np.ndarray, tool: np.ndarray) -> None:
        phase, steps = self.phase[row], self.steps_in_phase[row]
        over = apart(cube[:2], tool[:2])
        if (
            (phase == 0 and over < 0.010 + 0.001 * steps and tool[2] < cube[2] + 0.08)
            or (phase == 1 and over < 0.010 and tool[2] < 0.026)
            or (phase == 2 and steps >= 8)
        ):
            self.next_phase(row)
        elif (phase == 1 and steps > 20) or (phase == 3 and apart(cube, tool) > 0.035):
            self.phase[row] = self.steps_in_phase[row] = 0

    def _align(self, row: int, world: World) -> None:
        """Rolls the wrist so that the jaws meet two sides of the cube squarely."""
        w, _, _, z = world.quantity("cube.quaternion")
        pan = world.quantity("arm.joint_positions")[0]
        turn = 2.0 * np.arctan2(z, w) + pan  # yaw of the cube from the arm's plane
        self.roll[row] = UPRIGHT_ROLL + ((turn + np.pi / 4) % (np.pi / 2) - np.pi / 4)
