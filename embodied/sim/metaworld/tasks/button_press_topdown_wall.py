"""Button press topdown wall: push a button down into its box behind a wall."""

from __future__ import annotations

import numpy as np

from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.metaworld.tasks.button_press import WALL
from embodied.sim.metaworld.tasks.button_press_topdown import ButtonPressTopdown


def reward(world, action):
    """Bring open fingers to the button's face; once there, push it down to the goal; 0 to 10."""
    button, goal = world.button.position, world.goal.position
    gap = np.linalg.norm(button - world.fingers.center, axis=-1)
    near = long_tail(gap, 0.0, 0.01, np.linalg.norm(button - world.start.fingers, axis=-1))
    left, first_left = np.abs(button - goal)[..., 2], np.abs(world.start.button - goal)[..., 2]
    return {
        "reach_open": 5.0 * both(world.hand.openness, near),
        "press": np.where(gap <= 0.03, 5.0 * long_tail(left, 0.0, 0.005, first_left), 0.0),
    }


class ButtonPressTopdownWall(ButtonPressTopdown):
    """The button, behind a wall, shall be pushed down by 6.9 cm, into its box."""

    name, env_id = "metaworld/button-press-topdown-wall", "button-press-topdown-wall-v3"
    quantities = {**ButtonPressTopdown.quantities, **WALL}
