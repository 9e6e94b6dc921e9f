"""Button press topdown: push a button down into its box; with what both tasks from above share."""

from __future__ import annotations

import numpy as np

from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.metaworld.tasks.button_press import FACE_M, ButtonTask, button_quantities


def reward(world, action):
    """Bring closed fingers to the button's face; once there, push it down to the goal; 0 to 10."""
    button, goal = world.button.position, world.goal.position
    gap = np.linalg.norm(button - world.fingers.center, axis=-1)
    near = long_tail(gap, 0.0, 0.01, np.linalg.norm(button - world.start.fingers, axis=-1))
    left, first_left = np.abs(button - goal)[..., 2], np.abs(world.start.button - goal)[..., 2]
    return {
        "reach_closed": 5.0 * both(1.0 - world.hand.openness, near),
        "press": np.where(gap <= 0.03, 5.0 * long_tail(left, 0.0, 0.005, first_left), 0.0),
    }


class ButtonPressTopdown(ButtonTask):
    """The button shall be pushed down by 6.9 cm, into its box."""

    name, env_id = "metaworld/button-press-topdown", "button-press-topdown-v3"
    quantities = button_quantities(
        (0.0, 0.0, FACE_M), "9.3 cm below the button's face at the start (only the height counts)"
    )
    tilt_rad, axis, near_m = -1.57, 2, 0.024
