"""Soccer: push a ball into a goal."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.reads import Frame, FreeBody


def reward(world, action):
    """Hold the ball between the pads and bring it to the goal, not past its posts; 10 when it is there."""
    ball, goal, scale = world.ball.position, world.goal.position, np.array([3.0, 1.0, 1.0])
    to_goal = np.linalg.norm((ball - goal) * scale, axis=-1)
    # The benchmark's margin is the way that the ball has gone.
    in_place = long_tail(to_goal, 0.0, 0.07, np.linalg.norm((ball - world.start.ball) * scale, axis=-1))
    beyond = (ball[..., 1] - goal[..., 1] + 0.1) / (1.1 - goal[..., 1])
    outside = (beyond > 0.0) & (np.abs(ball[..., 0] - goal[..., 0]) > 0.1)
    in_place = np.where(outside, np.clip(in_place - 2.0 * beyond, 0.0, 1.0), in_place)

    # The benchmark's margins follow the pads' present places.
    left, right = world.fingers.left_pad[..., 1] - ball[..., 1], ball[..., 1] - world.fingers.right_pad[..., 1]
    left_margin, right_margin = np.abs(np.abs(left) - 0.05), np.abs(np.abs(right) - 0.05)
    beside = both(long_tail(left, 0.013, 0.05, left_margin), long_tail(right, 0.013, 0.05, right_margin))
    touching = both(long_tail(left, 0.013, 0.023, left_margin), long_tail(right, 0.013, 0.023, right_margin))
    across = np.linalg.norm((world.fingers.center - ball)[..., 0::2], axis=-1)
    first_across = np.linalg.norm((world.start.ball - world.start.fingers)[..., 0::2], axis=-1)
    cage = both(beside, long_tail(across, 0.0, 0.005, first_across - 0.005))
    hold = 0.5 * (cage + np.where(cage > 0.95, touching, 0.0))

    there = to_goal < 0.07
    return {
        "hold": np.where(there, 0.0, 3.0 * hold),
        "in_place": np.where(there, 0.0, 6.5 * in_place),
        "there": np.where(there, 10.0, 0.0),
    }


class Soccer(MetaWorldTask):
    """The ball shall be pushed into the goal, to within 7 cm of its middle."""

    name, env_id, moved_body, scalar_last = "metaworld/soccer", "soccer-v3", "goal_whole", True
    quantities = {
        **hand_quantities(),
        Quantity("ball.position", (3,), "m", "world", "centre of the ball"): Frame("body", "soccer_ball"),
        Quantity("ball.quaternion", (4,), "1", "world", "orientation of the ball, w x y z"): FreeBody(
            "soccer_ball", "quaternion"
        ),
        **start_quantity("start.ball", "`ball.position` at the start of the episode"),
        **goal_quantity("middle of the goal, on the table, where the ball shall be"),
    }
    objects = (("ball.position", "ball.quaternion"),)

    def accepts(self, draw: np.ndarray) -> np.ndarray:
        """Ball and goal are at least 15 cm apart in the plane."""
        return np.linalg.norm(draw[:, :2] - draw[:, 3:5], axis=-1) >= 0.15

    def layout(self, draw: np.ndarray) -> Layout:
        """The ball lies at the first three numbers, the goal stands at the others."""
        ball, goal = draw[:, :3], draw[:, 3:]
        return Layout(goal=goal, body=goal, joints={"soccer_ball": ball}, parameters={"start.ball": ball})

    def success(self, world: World) -> np.ndarray:
        """The ball is within 7 cm of the goal."""
        return np.linalg.norm(world.ball.position - world.goal.position, axis=-1) <= 0.07
