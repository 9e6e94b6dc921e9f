"""Press button: push the cap of a button down."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.articulated import ArticulatedTask
from embodied.sim.reads import Computed, Frame, JointPosition
from embodied.sim.tabletop import ARM_OBSERVATION, ScriptedExpert, apart, arm_quantities, constant, relative

_TRAVEL_M = 0.010


def reward(world, action):
    """Come to the cap, push it down."""
    distance = np.linalg.norm(world.gripper.to_button, axis=-1)
    pressed = world.button.pressed_fraction
    return {
        "near": 1.0 - np.tanh(6.0 * distance),
        "pressed": 3.0 * pressed,
        "done": np.where(pressed > 0.8, 2.0, 0.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


@dataclass(kw_only=True, eq=False, repr=False)
class PressButton(ArticulatedTask):
    """A spring-loaded button of 10 mm travel shall be pressed by at least `pressed_fraction` of it.

    Args:
        pressed_fraction: share of the travel that counts as pressed.

    The other arguments are those of `ArticulatedTask`.
    """

    name, scene = "press_button", "button"
    base_body, joint, jaw_rad = "button_base", "button_slide", -0.1  # the jaws nearly shut
    quantities = {
        **arm_quantities(),
        Quantity(
            "button.top_position", (3,), "m", "world", "middle of the cap's upper face; sinks when pressed"
        ): Frame("site", "button_top"),
        Quantity("button.travel", (), "m", "-", "how far the cap can be pressed"): constant(_TRAVEL_M),
        Quantity("button.pressed_depth", (), "m", "joint", "how far the cap is pressed down"): JointPosition(joint),
        Quantity("button.pressed_fraction", (), "1", "-", "0 not pressed to 1 pressed all the way"): Computed(
            lambda v: np.clip(v["button.pressed_depth"] / _TRAVEL_M, 0.0, 1.0)
        ),
        Quantity("gripper.to_button", (3,), "m", "world", "button top position minus gripper position"): relative(
            "button.top_position", "gripper.position"
        ),
    }
    observation = (*ARM_OBSERVATION, "button.top_position", "gripper.to_button", "button.pressed_fraction")

    pressed_fraction: float = 0.8
    spread_m: tuple[float, float] = (0.04, 0.08)
    spread_rad: float = field(default=0.0, init=False)  # the cap is round: no key for it
    episode_steps: int = 60

    def success(self, world: World) -> np.ndarray:
        """The cap is down by the wanted share of its travel."""
        return world.button.pressed_fraction >= self.pressed_fraction

    def expert(self, n: int) -> ScriptedExpert:
        """Shut the jaws, go above the button, go down."""
        return _Press(self, n)


class _Press(ScriptedExpert):
    def target(self, row: int, world: World):
        top, tool = world.quantity("button.top_position"), world.quantity("gripper.position")
        # The shut jaws stand on the robot's side of the grasp point: aim beyond the middle.
        aim = top + np.array([0.008, 0.0, 0.04])
        if self.phase[row] == 0 and apart(tool, aim) < 0.012:
            self.next_phase(row)
        if self.phase[row] == 1:
            aim = top + np.array([0.008, 0.0, -0.015])
        return aim, np.radians(75.0), -0.15
