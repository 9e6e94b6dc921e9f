"""Primitive skills of the quadruped: the baseline that Language to Rewards (arXiv:2306.08647) is compared with.

As in the paper's Code-as-Policies baseline, a model calls skills that are ready made instead of setting the terms of a
reward: walk, face a direction, bring a leg's joints to given angles. Deviations: walking trots with our stepping terms,
since the paper does not say how its skill was made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from embodied.core.errors import RewardCodeError
from embodied.rewards.motion_terms import MotionTerm, checked_number, program_source
from embodied.rewards.quadruped_motion import FEET, HELPERS, VELOCITY, QuadrupedMotion, checked_foot

_TROT = {"front_left": 0.0, "back_right": 0.0, "front_right": 0.5, "back_left": 0.5}
_LIMITS = {
    "abduction": (-1.0472, 1.0472),
    "hip": (-1.5708, 4.5379),
    "knee": (-2.7227, -0.83776),
}


class QuadrupedSkills:
    """Collects the calls of one answer; see `QuadrupedMotion`."""

    def __init__(self) -> None:
        self.reset_reward()

    def calls(self) -> Mapping[str, Callable[..., None]]:
        """The functions that an answer may call, by name."""
        return {
            "reset_reward": self.reset_reward,
            "walk": self.walk,
            "head_towards": self.head_towards,
            "set_target_joint_angles": self.set_target_joint_angles,
            "execute_plan": self.execute_plan,
        }

    def reset_reward(self) -> None:
        """Begins anew."""
        self.legs: dict[str, tuple[float, ...]] = {}
        self._motion = QuadrupedMotion()

    def walk(self, forward_speed: float = 0.0, sideways_speed: float = 0.0, turning_speed: float = 0.0) -> None:
        """Walks.

        Args:
            forward_speed: [m/s], up to 1.
            sideways_speed: to the left [m/s], up to 1.
            turning_speed: counter-clockwise [rad/s], up to 3.
        """
        forward = checked_number("walk", "forward_speed", forward_speed, -1.0, 1.0)
        left = checked_number("walk", "sideways_speed", sideways_speed, -1.0, 1.0)
        turning = checked_number("walk", "turning_speed", turning_speed, -3.0, 3.0)
        self._motion.torso.pop("heading", None)
        self._motion.torso |= {"height": 0.26, "velocity_xy": (forward, left), "turning_speed": turning}
        for foot, phase in _TROT.items() if (forward, left, turning) != (0.0, 0.0, 0.0) else ():
            self._motion.set_foot_stepping_parameters(foot, 2.0, 0.5, phase, 0.05, 0.0, True)

    def head_towards(self, heading_direction: float) -> None:
        """Faces a direction.

        Args:
            heading_direction: 0 east (+x), counter-clockwise [rad].
        """
        heading = checked_number("head_towards", "heading_direction", heading_direction, -2 * math.pi, 2 * math.pi)
        self._motion.torso.pop("turning_speed", None)
        self._motion.torso["heading"] = heading

    def set_target_joint_angles(self, leg_name: str, target_joint_angles: Any) -> None:
        """Brings a leg's joints to angles.

        Args:
            leg_name: `front_left`, `front_right`, `back_left` or `back_right`.
            target_joint_angles: abduction, hip and knee [rad].
        """
        call = "set_target_joint_angles"
        leg = checked_foot(call, leg_name)
        if not isinstance(target_joint_angles, list | tuple) or len(target_joint_angles) != 3:
            raise RewardCodeError(f"{call}: target_joint_angles={target_joint_angles!r} must be [abduction, hip, knee]")
        pairs = zip(_LIMITS.items(), target_joint_angles, strict=True)
        self.legs[leg] = tuple(checked_number(call, joint, angle, *limits) for (joint, limits), angle in pairs)

    def execute_plan(self, plan_duration: float = 2.0) -> None:
        """Ends the answer; nothing moves without it."""
        self._motion.execute_plan(plan_duration)

    def terms(self) -> list[MotionTerm]:
        """The motion terms of the skills.

        Raises:
            RewardCodeError: `execute_plan()` was not called.
        """
        if not self.legs:
            self._motion.torso.setdefault("height", 0.26)
        legs = [
            MotionTerm(
                f"{leg}_pose", f"world.{leg}_leg.angles - np.array([{a:g}, {b:g}, {c:g}])", 1.0, "smooth_abs", 0.1
            )
            for leg, (a, b, c) in self.legs.items()
        ]
        upright = [] if set(self.legs) == set(FEET) else [
            MotionTerm("torso_flat", "np.stack([world.torso.pitch, world.torso.roll], axis=-1)", 0.5, "l2", 0.1)
        ]  # fmt: skip
        return [*self._motion.terms(), *legs, *upright]

    def source(self, title: str = "") -> str:
        """The reward program of the skills."""
        return program_source(self.terms(), helpers=HELPERS + VELOCITY, title=title)
