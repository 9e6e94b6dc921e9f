"""Open drawer: hook or grip the handle and pull. Also what both drawer tasks share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.reads import Computed, Frame, JointPosition, JointVelocity
from embodied.sim.tabletop import (
    ARM_OBSERVATION,
    ScriptedExpert,
    TabletopTask,
    apart,
    arm_quantities,
    comfortable_pitch,
    constant,
    relative,
)
from embodied.sim.task import Start

MAX_OPENING_M = 0.12


def reward(world, action):
    """Bring the jaws around the handle, then pull the drawer out."""
    distance = np.linalg.norm(world.gripper.to_handle, axis=-1)
    opened = world.drawer.opening_fraction
    return {
        "near": 1.0 - np.tanh(8.0 * distance),
        "opened": 4.0 * opened,
        "done": np.where(opened > 0.8, 2.0, 0.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class DrawerTask(TabletopTask):
    """Base of the drawer tasks: a drawer in front of the robot that opens towards it by up to 12 cm.

    Args:
        instruction: what the robot shall do.
        spread_m: half widths of the drawer's places in x and y [m].
        spread_rad: half width of its yaw [rad].
        episode_steps: actions per episode.
        aliases: published names of quantities.
    """

    scene = "drawer"
    quantities = {
        **arm_quantities(),
        Quantity(
            "drawer.handle_position", (3,), "m", "world", "middle of the handle bar, moves with the drawer"
        ): Frame("site", "drawer_handle"),
        Quantity("drawer.opening", (), "m", "joint", "how far the drawer is pulled out"): JointPosition("drawer_slide"),
        Quantity(
            "drawer.opening_velocity", (), "m/s", "joint", "speed of the drawer, positive when opening"
        ): JointVelocity("drawer_slide"),
        Quantity("drawer.max_opening", (), "m", "-", "opening at which the drawer is fully open"): constant(
            MAX_OPENING_M
        ),
        Quantity("drawer.opening_fraction", (), "1", "-", "0 closed to 1 fully open"): Computed(
            lambda v: np.clip(v["drawer.opening"] / MAX_OPENING_M, 0.0, 1.0)
        ),
        Quantity("gripper.to_handle", (3,), "m", "world", "handle position minus gripper position"): relative(
            "drawer.handle_position", "gripper.position"
        ),
    }
    observation = (
        *ARM_OBSERVATION,
        "drawer.handle_position",
        "gripper.to_handle",
        "drawer.opening_fraction",
        "drawer.opening_velocity",
    )

    def __init__(
        self,
        *,
        instruction: str,
        spread_m: tuple[float, float] = (0.03, 0.03),
        spread_rad: float = 0.1,
        episode_steps: int = 100,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(instruction=instruction, episode_steps=episode_steps, aliases=aliases)
        self.spread_m, self.spread_rad = spread_m, spread_rad

    def start_at(self, rng: np.random.Generator, n: int, opening_m: np.ndarray) -> Start:
        """The arm near home with its jaws half open, the drawer open by `opening_m (n,)` [m]."""
        states = self.noisy_home(rng, n, jaw_rad=0.3)
        states[:, 1 + self.model.joint("drawer_slide").qposadr[0]] = opening_m
        edits = self.prop_edits(rng, n, "drawer_base", spread_m=self.spread_m, spread_rad=self.spread_rad)
        return Start(states, edits=edits)


class OpenDrawer(DrawerTask):
    """The closed drawer shall be pulled open.

    Args:
        instruction: what the robot shall do.
        opened_fraction: share of the full opening that counts as open.
        **rest: see `DrawerTask`.
    """

    name = "open_drawer"

    def __init__(self, *, instruction: str, opened_fraction: float = 0.8, **rest) -> None:
        super().__init__(instruction=instruction, **rest)
        self.opened_fraction = opened_fraction

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """The drawer is closed."""
        return self.start_at(rng, n, np.zeros(n))

    def success(self, world: World) -> np.ndarray:
        """The drawer is open by the wanted share."""
        return world.drawer.opening_fraction >= self.opened_fraction

    def expert(self, n: int) -> ScriptedExpert:
        """Jaws around the bar from above, then towards the robot."""
        return HandleExpert(self, n, push_m=-0.06)


class HandleExpert(ScriptedExpert):
    """Straddles the handle bar from above, then moves along the drawer's slide with the bar between the jaws.

    Args:
        task: a drawer task.
        n: number of environments.
        push_m: how far beyond the bar the tool shall strive, along x [m]; negative pulls towards the robot.
    """

    def __init__(self, task: DrawerTask, n: int, push_m: float) -> None:
        super().__init__(task, n)
        self.push_m = push_m

    def target(self, row: int, world: World):
        """Above the bar, down around it, along the slide; once more from above when the bar got lost."""
        handle, tool = world.quantity("drawer.handle_position"), world.quantity("gripper.position")
        above, around = handle + np.array([-0.002, 0.0, 0.045]), handle + np.array([-0.002, 0.0, 0.002])
        aims = (above, around, handle + np.array([self.push_m, 0.0, 0.002]))
        phase, steps = self.phase[row], self.steps_in_phase[row]
        lost = abs(tool[0] - handle[0]) > 0.032 or tool[2] > handle[2] + 0.03
        if (phase == 0 and apart(tool, above) < 0.012 + 0.001 * steps) or (phase == 1 and apart(tool, around) < 0.010):
            self.next_phase(row)
        elif (phase == 1 and steps > 15) or (phase == 2 and lost):
            self.phase[row] = self.steps_in_phase[row] = 0
        self.stride_m[row] = 0.03 if self.phase[row] == 1 else 0.05
        return aims[self.phase[row]], comfortable_pitch(tool[0]), 0.28
