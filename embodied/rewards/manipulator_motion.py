"""The manipulator's motion API of Language to Rewards (Yu et al. 2023, arXiv:2306.08647): calls become motion terms.

The paper's own manipulator code was not released; names and signatures are the paper's, weights are ours. Deviations:
an object's orientation is its tilt from upright, whatever its turn about the vertical, so that the sign of an angle
does not matter; ranges are enforced and named; and there are terms that no call asks for, without which plain calls
cannot be followed by sampling: where no call sends the palm, it goes to what shall be moved (`reach`); the fingers are
open on the way and close around that once they are there (`grip`), which keeps two objects together (`together`); they
point down, or level where an object stands and shall be turned (`approach`, `level`); motion costs a little (`effort`,
`calm`, `posture`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from embodied.core.errors import RewardCodeError
from embodied.rewards.motion_terms import MotionTerm, checked_number, program_source

OBJECTS = ("apple", "box")
HANDLES = {"drawer": "drawer_handle", "faucet": "faucet_handle"}  # joint -> what the fingers take
FRACTIONS = {"drawer": "world.drawer.opening_fraction", "faucet": "world.faucet.angle_fraction"}
POINTS = {
    "palm": "world.palm.position",
    "apple": "world.apple.position",
    "box": "world.box.position",
    "drawer_handle": "world.drawer.handle_position",
    "faucet_handle": "world.faucet.handle_position",
    "drawer_center": "world.drawer.center_position",
    "rest_position": "world.rest_position",
}
HOME = "HOME = np.array([0.0, -0.2274, 0.0, -2.4644, 0.0, 2.237, 0.7854])"
HELPERS = f"""
{HOME}


def tilt(up):
    return np.arctan2(np.hypot(up[..., 0], up[..., 1]), up[..., 2])


def near(world, place):
    away = world.palm.position - place
    return np.exp(-np.sum(away * away, axis=-1) / 0.03**2)


def grip(world, place):
    closed, there = 1.0 - world.fingers.set_openness, near(world, place)
    return 1.0 - there * closed + 0.5 * (1.0 - there) * closed
"""


def checked_name(call: str, argument: str, value: Any, valid: Any) -> str:
    """The name itself.

    Raises:
        RewardCodeError: it is none of the valid ones; lists them.
    """
    if not isinstance(value, str) or value not in valid:
        raise RewardCodeError(f"{call}: {argument}={value!r} is unknown; valid are {', '.join(valid)}")
    return value


@dataclass
class ManipulatorMotion:
    """Collects the calls of one answer.

    Every answer is a whole description: what it does not set is not asked for.
    """

    distances: dict[tuple[str, str], float] = field(default_factory=dict)
    heights: dict[str, float] = field(default_factory=dict)
    tilts: dict[str, float] = field(default_factory=dict)
    fractions: dict[str, float] = field(default_factory=dict)
    executed: bool = False

    def calls(self) -> Mapping[str, Callable[..., None]]:
        """The functions that an answer may call, by name."""
        return {
            "reset_reward": self.reset_reward,
            "set_l2_distance_reward": self.set_l2_distance_reward,
            "set_obj_orientation_reward": self.set_obj_orientation_reward,
            "set_obj_z_position_reward": self.set_obj_z_position_reward,
            "set_joint_fraction_reward": self.set_joint_fraction_reward,
            "execute_plan": self.execute_plan,
        }

    def reset_reward(self) -> None:
        """Begins a new description."""
        self.distances, self.heights, self.tilts, self.fractions = {}, {}, {}, {}
        self.executed = False

    def set_l2_distance_reward(self, name_obj_A: str, name_obj_B: str, weight: float = 5.0) -> None:
        """Brings A to B; of two objects A is the one that moves.

        Args:
            name_obj_A: one of `POINTS`.
            name_obj_B: another one.
            weight: of the distance in metres.
        """
        call = "set_l2_distance_reward"
        a = checked_name(call, "name_obj_A", name_obj_A, POINTS)
        b = checked_name(call, "name_obj_B", name_obj_B, POINTS)
        if a == b:
            raise RewardCodeError(f"{call}: name_obj_A and name_obj_B are both {a!r}; they must differ")
        self.distances.pop((b, a), None)
        self.distances[a, b] = checked_number(call, "weight", weight, 0.0, 100.0)

    def set_obj_orientation_reward(self, name_obj: str, x_axis_rotation_radians: float) -> None:
        """Turns an object.

        Args:
            name_obj: one of `OBJECTS`.
            x_axis_rotation_radians: away from upright [rad]; pi is upside down.
        """
        call, name = "set_obj_orientation_reward", "x_axis_rotation_radians"
        obj = checked_name(call, "name_obj", name_obj, OBJECTS)
        angle = checked_number(call, name, x_axis_rotation_radians, -2.0 * math.pi, 2.0 * math.pi)
        self.tilts[obj] = abs(math.remainder(angle, 2.0 * math.pi))

    def set_obj_z_position_reward(self, name_obj: str, z_height: float) -> None:
        """Brings an object's centre to a height.

        Args:
            name_obj: one of `OBJECTS`.
            z_height: above the table [m].
        """
        call = "set_obj_z_position_reward"
        obj = checked_name(call, "name_obj", name_obj, OBJECTS)
        self.heights[obj] = checked_number(call, "z_height", z_height, 0.0, 1.0)

    def set_joint_fraction_reward(self, name_joint: str, fraction: float) -> None:
        """Moves the drawer or the faucet.

        Args:
            name_joint: `drawer` or `faucet`.
            fraction: 0 closed or off, 1 open or on.
        """
        call = "set_joint_fraction_reward"
        joint = checked_name(call, "name_joint", name_joint, FRACTIONS)
        self.fractions[joint] = checked_number(call, "fraction", fraction, 0.0, 1.0)

    def execute_plan(self, plan_duration: float = 10.0) -> None:
        """Ends the description; nothing moves without it."""
        checked_number("execute_plan", "plan_duration", plan_duration, 0.0, 600.0)
        self.executed = True

    def terms(self) -> list[MotionTerm]:
        """The motion terms of the description, with the terms that are always there.

        Raises:
            RewardCodeError: `execute_plan()` was not called.
        """
        if not self.executed:
            raise RewardCodeError("the answer never calls execute_plan(), so nothing would move")
        return [*self._asked_terms(), *self._hand_terms(), *self._quiet_terms()]

    def _asked_terms(self) -> list[MotionTerm]:
        found = [
            MotionTerm(f"{a}_to_{b}", f"{POINTS[a]} - {POINTS[b]}", weight, "l2", 0.02)
            for (a, b), weight in self.distances.items()
        ]
        for obj, height in self.heights.items():
            residual = f"scalar(world.{obj}.position[..., 2] - {height:g})"
            found.append(MotionTerm(f"{obj}_height", residual, 10.0, "smooth_abs", 0.02))
        for obj, angle in self.tilts.items():
            found.append(MotionTerm(f"{obj}_tilt", f"scalar(tilt(world.{obj}.up) - {angle:g})", 2.0, "smooth_abs", 0.1))
        for joint, fraction in self.fractions.items():
            residual = f"scalar({FRACTIONS[joint]} - {fraction:g})"
            found.append(MotionTerm(f"{joint}_fraction", residual, 5.0, "smooth_abs", 0.02))
        return found

    def _moved(self) -> list[str]:
        """What the description moves, objects and handles: of two objects brought together the first one."""
        pairs = [next((p for p in pair if p in OBJECTS), None) for pair in self.distances if "palm" not in pair]
        named = [*self.heights, *self.tilts, *pairs, *(HANDLES[joint] for joint in self.fractions)]
        return list(dict.fromkeys(name for name in named if name))

    def _hand_terms(self) -> list[MotionTerm]:
        sent = [(b if a == "palm" else a) for a, b in self.distances if "palm" in (a, b)]
        held = [name for name in self._moved() if not sent or name in sent]
        free = "1.0"  # how much the hand's direction matters: not once it holds what it shall turn
        down = "world.palm.approach_axis[..., 2] + 1.0"
        found = []
        if held:
            place = f"({' + '.join(POINTS[name] for name in held)}) / {len(held)}.0"
            if not sent:
                found.append(MotionTerm("reach", f"world.palm.position - {place}", 5.0, "l2", 0.02))
            found.append(MotionTerm("grip", f"scalar(grip(world, {place}))", 2.0, "smooth_abs", 0.02))
            if set(OBJECTS) <= set(held):  # one grip holds both only where they are side by side
                apart = " - ".join(POINTS[name] for name in OBJECTS)
                found.append(MotionTerm("together", apart, 5.0, "l2", 0.02))
            turned = next((name for name in held if name in self.tilts), None)
            if turned:
                free = f"(1.0 - near(world, {place}))"
                down = f"world.palm.approach_axis[..., 2] + 1.0 - world.{turned}.up[..., 2] ** 2"
        return [
            *found,
            MotionTerm("approach", f"scalar({free} * ({down}))", 1.0, "smooth_abs", 0.1),
            MotionTerm("level", f"scalar({free} * world.palm.closing_axis[..., 2])", 1.0, "smooth_abs", 0.1),
        ]

    def _quiet_terms(self) -> list[MotionTerm]:
        return [
            MotionTerm("effort", "action", 0.02, "quadratic"),
            MotionTerm("calm", "world.arm.joint_velocities", 0.01, "quadratic"),
            MotionTerm("posture", "world.arm.joint_positions - HOME", 0.02, "quadratic"),
        ]

    def source(self, title: str = "") -> str:
        """The reward program of the description."""
        return program_source(self.terms(), helpers=HELPERS, title=title)
