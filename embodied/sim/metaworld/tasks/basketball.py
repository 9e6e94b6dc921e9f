"""Basketball: bring a ball to a hoop."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import both, caged, gripped, long_tail
from embodied.sim.metaworld.tasks.hammer import SettlingTask
from embodied.sim.reads import Frame


def reward(world, action):
    """Enclose the ball, grip it, lift it, bring it above the hoop; 10 when it is there."""
    ball, start = world.ball.position, world.start.ball
    above, scale = (
        world.goal.position * np.array([1.0, 1.0, 0.0]) + np.array([0.0, 0.0, 0.3]),
        np.array([1.0, 1.0, 2.0]),
    )
    left = np.linalg.norm((ball - above) * scale, axis=-1)
    progress = long_tail(left, 0.0, 0.08, np.linalg.norm((start - above) * scale, axis=-1))
    near = np.linalg.norm(ball - world.fingers.center, axis=-1) < 0.035
    held = near & (world.hand.openness > 0.0) & (ball[..., 2] - 0.01 > start[..., 2])
    cage = caged(world, ball, start, 0.025, 0.06, 0.005)
    grasp = np.where(held, 1.0, 0.5 * (cage + gripped(cage, action[..., 3], 1.0)))
    there = left < 0.08
    return {
        "grasp_and_carry": np.where(there, 0.0, both(grasp, progress)),
        "held": np.where(held & ~there, 1.0 + 5.0 * progress, 0.0),
        "there": np.where(there, 10.0, 0.0),
    }


class Basketball(SettlingTask):
    """The ball shall be brought to within 8 cm of a point 5 cm above the hoop (z counts twice)."""

    name, env_id = "metaworld/basketball", "basketball-v3"
    moved_body = "basket_goal"
    quantities = {
        **hand_quantities(),
        Quantity("ball.position", (3,), "m", "world", "centre of the ball, whose radius is 3 cm"): Frame(
            "body", "bsktball"
        ),
        Quantity("ball.quaternion", (4,), "1", "world", "orientation of the ball, w x y z"): Frame(
            "body", "bsktball", "quaternion"
        ),
        **start_quantity("start.ball", "`ball.position` at the start of the episode"),
        **goal_quantity("middle of the hoop; the ball shall be 5 cm above it"),
    }
    objects = (("ball.position", "ball.quaternion"),)

    def accepts(self, draw: np.ndarray) -> np.ndarray:
        """Ball and basket are at least 15 cm apart in the plane."""
        return np.linalg.norm(draw[:, :2] - draw[:, 3:5], axis=-1) >= 0.15

    def layout(self, draw: np.ndarray) -> Layout:
        """The ball lies on the table at the first two numbers, the basket stands at the last three."""
        ball, basket = draw[:, :3].copy(), draw[:, 3:]
        ball[:, 2] = 0.03
        goal = basket + np.array([0.0, -0.083, 0.25])
        return Layout(goal=goal, body=basket, joints={"bsktball": ball}, parameters={"start.ball": ball})

    def success(self, world: World) -> np.ndarray:
        """The ball is within 8 cm of the point 5 cm above the hoop, z counted twice."""
        miss = (world.ball.position - world.goal.position - np.array([0.0, 0.0, 0.05])) * np.array([1.0, 1.0, 2.0])
        return np.linalg.norm(miss, axis=-1) <= 0.08
