"""Reach: bring the gripper to a point in space."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.ik import ArmKinematics
from embodied.sim.reads import Computed, Parameter
from embodied.sim.tabletop import ARM_JOINTS, ARM_OBSERVATION, ScriptedExpert, TabletopTask, arm_quantities
from embodied.sim.task import Start


def reward(world, action):
    """Come close, stay there, move gently."""
    distance = np.linalg.norm(world.goal.position - world.gripper.position, axis=-1)
    return {
        "near": 1.0 - np.tanh(5.0 * distance),
        "at_goal": 1.0 - np.tanh(40.0 * distance),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


class Reach(TabletopTask):
    """The gripper's grasp point shall come within `tolerance_m` of a goal drawn from a box of the workspace.

    Args:
        instruction: what the robot shall do.
        tolerance_m: radius around the goal that counts as success [m].
        goal_low_m: lower corner of the goals' box (x, y, z) [m], world frame.
        goal_high_m: upper corner.
        episode_steps: actions per episode.
        aliases: published names of quantities.
    """

    name, scene = "reach", "reach"
    quantities = {
        **arm_quantities(),
        Quantity("goal.position", (3,), "m", "world", "the point to reach"): Parameter("goal.position"),
        Quantity("goal.relative", (3,), "m", "world", "goal position minus gripper position"): Computed(
            lambda v: v["goal.position"] - v["gripper.position"]
        ),
    }
    observation = (*ARM_OBSERVATION, "goal.position", "goal.relative")

    def __init__(
        self,
        *,
        instruction: str,
        tolerance_m: float = 0.02,
        goal_low_m: tuple[float, float, float] = (0.16, -0.15, 0.04),
        goal_high_m: tuple[float, float, float] = (0.32, 0.15, 0.24),
        episode_steps: int = 60,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(instruction=instruction, episode_steps=episode_steps, aliases=aliases)
        self.tolerance_m = tolerance_m
        self.goal_low_m, self.goal_high_m = np.array(goal_low_m, float), np.array(goal_high_m, float)

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """The arm near home; a goal anywhere in the box, at least 6 cm away."""
        goal = rng.uniform(self.goal_low_m, self.goal_high_m, (n, 3))
        while (close := np.linalg.norm(goal - self._home_tool, axis=-1) < 0.06).any():
            goal[close] = rng.uniform(self.goal_low_m, self.goal_high_m, (int(close.sum()), 3))
        return Start(self.noisy_home(rng, n), {"goal.position": goal})

    @cached_property
    def _home_tool(self) -> np.ndarray:
        arm = ArmKinematics(self.model, ARM_JOINTS, "tool")
        return arm.forward(self.home_state()[1 : 1 + self.model.nq][:5])[0]

    def success(self, world: World) -> np.ndarray:
        """Grasp point within the tolerance and slower than 0.1 m/s: flying through does not count."""
        distance = np.linalg.norm(world.goal.position - world.gripper.position, axis=-1)
        return (distance < self.tolerance_m) & (np.linalg.norm(world.gripper.velocity, axis=-1) < 0.1)

    def expert(self, n: int) -> ScriptedExpert:
        """Straight to the goal."""
        return _Straight(self, n)


class _Straight(ScriptedExpert):
    def target(self, row: int, world: World):
        return world.quantity("goal.position"), None, 0.6
