"""Button press wall: push a button into its box behind a wall."""

from __future__ import annotations

import numpy as np

from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.metaworld.tasks.button_press import WALL, ButtonPress


def reward(world, action):
    """Bring closed fingers to the button's face; once there, open them and push it along y to the goal; 0 to 10."""
    button, goal, openness = world.button.position, world.goal.position, world.hand.openness
    gap = np.linalg.norm(button - world.fingers.center, axis=-1)
    near = long_tail(gap, 0.0, 0.01, np.linalg.norm(button - world.start.fingers, axis=-1))
    left, first_left = np.abs(button - goal)[..., 1], np.abs(world.start.button - goal)[..., 1]
    there = gap <= 0.07
    return {
        "reach_closed": np.where(there, 0.0, 2.0 * both(0.5 * (1.0 - openness), near)),
        "at_button": np.where(there, 4.0, 0.0),
        "open_at_button": np.where(there, 2.0 * openness, 0.0),
        "press": np.where(there, 4.0 * long_tail(left, 0.0, 0.005, first_left) ** 2, 0.0),
    }


class ButtonPressWall(ButtonPress):
    """The button, behind a wall, shall be pushed along +y by 6.3 cm, into its box."""

    name, env_id = "metaworld/button-press-wall", "button-press-wall-v3"
    quantities = {**ButtonPress.quantities, **WALL}
    near_m = 0.03
