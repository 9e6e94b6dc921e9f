"""The quadruped's motion API of Language to Rewards (Yu et al. 2023, arXiv:2306.08647): calls become motion terms.

Weights and ranges are those of the released Barkour tasks. Deviations: our robot has other leg lengths, so the
nominal heights differ; positive pitch is nose up; a foot that steps follows a half sine while in the air; limits are
enforced and named, where the release clamps or drops in silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from embodied.core.errors import RewardCodeError
from embodied.rewards.motion_terms import MotionTerm, checked_number, program_source

FEET = ("front_left", "front_right", "back_left", "back_right")
_ALIASES = {"rear_left": "back_left", "rear_right": "back_right"}
# Foot centres below the standing torso, in its heading frame (x, y), and the height of a standing foot.
_STANCE = {
    "front_left": (0.1934, 0.142),
    "front_right": (0.1934, -0.142),
    "back_left": (-0.1934, 0.142),
    "back_right": (-0.1934, -0.142),
}
HELPERS = '''
GRAVITY = 9.81


def level(world):
    return np.cos(world.torso.pitch)


def in_heading(world, point):
    offset = point - world.torso.position
    c, s = np.cos(world.torso.heading), np.sin(world.torso.heading)
    x, y = offset[..., 0], offset[..., 1]
    return np.stack([c * x + s * y, c * y - s * x], axis=-1)


def airborne(time, frequency, air_ratio, phase_offset):
    phase = np.mod(frequency * time + phase_offset, 1.0)
    return np.where(phase < air_ratio, np.sin(np.pi * phase / air_ratio), 0.0)


def fore_aft(time, frequency, phase_offset):
    return np.cos(2.0 * np.pi * (frequency * time + phase_offset))


def capture_offset(world, feet):
    center = world.body_center.position
    fall_time = np.sqrt(2.0 * np.maximum(center[..., 2], 0.05) / GRAVITY)
    capture = center[..., 0:2] + world.torso.velocity[..., 0:2] * fall_time[..., np.newaxis]
    return capture - sum(feet)[..., 0:2] / len(feet)
'''


def checked_foot(call: str, name: Any) -> str:
    """The foot's own name.

    Raises:
        RewardCodeError: no such foot; lists them.
    """
    found = _ALIASES.get(name, name)
    if found not in FEET:
        raise RewardCodeError(f"{call}: unknown foot {name!r}; the feet are {', '.join(FEET)}")
    return found


@dataclass
class QuadrupedMotion:
    """Collects the calls of one answer.

    Every answer is a whole description: what it does not set keeps its default or is not asked for.
    """

    torso: dict[str, float | tuple[float, float]] = field(default_factory=dict)
    positions: dict[str, dict[str, float]] = field(default_factory=dict)
    steps: dict[str, dict[str, float]] = field(default_factory=dict)
    executed: bool = False

    def calls(self) -> Mapping[str, Callable[..., None]]:
        """The functions that an answer may call, by name."""
        return {
            "reset_reward": self.reset_reward,
            "set_torso_targets": self.set_torso_targets,
            "set_foot_pos_parameters": self.set_foot_pos_parameters,
            "set_foot_stepping_parameters": self.set_foot_stepping_parameters,
            "execute_plan": self.execute_plan,
        }

    def reset_reward(self) -> None:
        """Begins a new description."""
        self.torso, self.positions, self.steps, self.executed = {}, {}, {}, False

    def set_torso_targets(
        self,
        target_torso_height: float | None = None,
        target_torso_pitch: float | None = None,
        target_torso_roll: float | None = None,
        target_torso_location_xy: Any = None,
        target_torso_velocity_xy: Any = None,
        target_torso_heading: float | None = None,
        target_turning_speed: float | None = None,
    ) -> None:
        """Where the torso shall be; None leaves something free.

        Args:
            target_torso_height: [m]; 0.26 standing on four feet, about 0.5 on two.
            target_torso_pitch: nose above the horizon [rad].
            target_torso_roll: positive to the right [rad]; pi is upside down.
            target_torso_location_xy: `(x, y)` in the world [m]; excludes the velocity.
            target_torso_velocity_xy: `(forward, left)` in the torso's heading [m/s].
            target_torso_heading: 0 east (+x), counter-clockwise [rad]; excludes the turning speed.
            target_turning_speed: counter-clockwise [rad/s].
        """
        call = "set_torso_targets"
        if target_torso_location_xy is not None and target_torso_velocity_xy is not None:
            raise RewardCodeError(f"{call}: target_torso_location_xy and target_torso_velocity_xy: one must be None")
        if target_torso_heading is not None and target_turning_speed is not None:
            raise RewardCodeError(f"{call}: target_torso_heading and target_turning_speed: one must be None")
        limits = {
            "target_torso_height": (target_torso_height, 0.0, 1.0),
            "target_torso_pitch": (target_torso_pitch, -math.pi, math.pi),
            "target_torso_roll": (target_torso_roll, -2 * math.pi, 2 * math.pi),
            "target_torso_heading": (target_torso_heading, -2 * math.pi, 2 * math.pi),
            "target_turning_speed": (target_turning_speed, -6.0, 6.0),
        }
        found: dict[str, float | tuple[float, float]] = {
            name.removeprefix("target_").removeprefix("torso_"): checked_number(call, name, value, low, high)
            for name, (value, low, high) in limits.items()
            if value is not None
        }
        for name, pair, bound in (
            ("location_xy", target_torso_location_xy, 4.0),
            ("velocity_xy", target_torso_velocity_xy, 3.0),
        ):
            if pair is not None:
                if not isinstance(pair, list | tuple) or len(pair) != 2:
                    raise RewardCodeError(f"{call}: target_torso_{name}={pair!r} must be a pair (x, y)")
                found[name] = tuple(checked_number(call, f"target_torso_{name}", v, -bound, bound) for v in pair)  # type: ignore[assignment]
        self.torso |= found

    def set_foot_pos_parameters(
        self,
        foot_name: str,
        lift_height: float | None = None,
        extend_forward: float | None = None,
        move_inward: float | None = None,
    ) -> None:
        """Where a foot shall be, against its place under the standing torso; None leaves a direction free.

        Args:
            foot_name: `front_left`, `front_right`, `back_left` or `back_right` (`rear_...` too).
            lift_height: above the ground [m].
            extend_forward: [m].
            move_inward: towards the other side [m].
        """
        call = "set_foot_pos_parameters"
        given = {"lift_height": lift_height, "extend_forward": extend_forward, "move_inward": move_inward}
        self.positions[checked_foot(call, foot_name)] = {
            name: checked_number(call, name, value, -1.0, 1.0) for name, value in given.items() if value is not None
        }

    def set_foot_stepping_parameters(
        self,
        foot_name: str,
        stepping_frequency: float = 2.0,
        air_ratio: float = 0.5,
        phase_offset: float = 0.0,
        swing_up_down: float = 0.05,
        swing_forward_back: float = 0.0,
        should_activate: bool = True,
    ) -> None:
        """Lets a foot step.

        Args:
            foot_name: as above.
            stepping_frequency: steps per second [Hz].
            air_ratio: share of a period in the air.
            phase_offset: share of a period by which it is ahead.
            swing_up_down: height of a step [m].
            swing_forward_back: length of a step [m].
            should_activate: False stands still.
        """
        call, foot = "set_foot_stepping_parameters", checked_foot("set_foot_stepping_parameters", foot_name)
        if not isinstance(should_activate, bool | int):
            raise RewardCodeError(f"{call}: should_activate={should_activate!r} must be True or False")
        values = {
            "frequency": checked_number(call, "stepping_frequency", stepping_frequency, 0.0, 3.0),
            "air_ratio": checked_number(call, "air_ratio", air_ratio, 0.0, 1.0),
            "phase_offset": checked_number(call, "phase_offset", phase_offset, -1.0, 1.0),
            "up": checked_number(call, "swing_up_down", swing_up_down, 0.0, 0.4),
            "forward": checked_number(call, "swing_forward_back", swing_forward_back, -0.4, 0.4),
        }
        self.steps.pop(foot, None)
        if should_activate and values["frequency"] > 0 and values["air_ratio"] > 0:
            self.steps[foot] = values

    def execute_plan(self, plan_duration: float = 2.0) -> None:
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
        return [*self._torso_terms(), *self._foot_terms(), *self._standing_terms()]

    def _torso_terms(self) -> list[MotionTerm]:
        torso, found = self.torso, []
        simple = {
            "height": ("scalar(world.torso.position[..., 2] - {:g})", 5.0, "smooth_abs", 0.05),
            "pitch": ("scalar(world.torso.pitch - {:g})", 0.6, "smooth_abs", 0.1),
            "roll": ("scalar(level(world) * wrapped(world.torso.roll - {:g}))", 1.0, "smooth_abs", 0.1),
            "heading": ("scalar(level(world) * wrapped(world.torso.heading - {:g}))", 0.6, "smooth_abs", 0.1),
            "turning_speed": ("scalar(world.torso.angular_velocity[..., 2] - {:g})", 0.6, "smooth_abs", 0.3),
        }
        for name, (residual, weight, norm, p) in simple.items():
            if name in torso:
                found.append(MotionTerm(f"torso_{name}", residual.format(torso[name]), weight, norm, p))
        if "location_xy" in torso:
            x, y = torso["location_xy"]  # type: ignore[misc]
            residual = f"world.torso.position[..., 0:2] - np.array([{x:g}, {y:g}])"
            found.append(MotionTerm("torso_location", residual, 0.6, "l2", 0.1))
        forward, left = torso.get("velocity_xy", (0.0, 0.0))  # type: ignore[misc]
        if "location_xy" not in torso:
            residual = f"heading_velocity(world) - np.array([{forward:g}, {left:g}])"
            found.append(MotionTerm("torso_velocity", residual, 0.6, "l2", 0.1))
        return found

    def _foot_terms(self) -> list[MotionTerm]:
        found = []
        for foot, given in self.positions.items():
            x, y = _STANCE[foot]
            here = f"in_heading(world, world.{foot}_foot.position)"
            side = 1.0 if y > 0 else -1.0
            if "lift_height" in given:
                target = given["lift_height"] + 0.022
                residual = f"scalar(world.{foot}_foot.position[..., 2] - {target:g})"
                found.append(MotionTerm(f"{foot}_lift", residual, 10.0, "smooth_abs", 0.03))
            if "extend_forward" in given:
                residual = f"scalar({here}[..., 0] - {x + given['extend_forward']:g})"
                found.append(MotionTerm(f"{foot}_forward", residual, 3.0, "smooth_abs", 0.05))
            if "move_inward" in given:
                residual = f"scalar({here}[..., 1] - {y - side * given['move_inward']:g})"
                found.append(MotionTerm(f"{foot}_inward", residual, 3.0, "smooth_abs", 0.05))
        for foot, s in self.steps.items():
            x, _ = _STANCE[foot]
            air = f"airborne(world.time, {s['frequency']:g}, {s['air_ratio']:g}, {s['phase_offset']:g})"
            residual = f"scalar(world.{foot}_foot.position[..., 2] - 0.022 - {s['up']:g} * {air})"
            found.append(MotionTerm(f"{foot}_step", residual, 10.0, "smooth_abs", 0.03))
            if s["forward"]:
                swing = f"fore_aft(world.time, {s['frequency']:g}, {s['phase_offset']:g})"
                here = f"in_heading(world, world.{foot}_foot.position)[..., 0]"
                residual = f"scalar({here} - {x:g} + {0.5 * s['forward']:g} * {swing})"
                found.append(MotionTerm(f"{foot}_swing", residual, 2.0, "smooth_abs", 0.05))
        return found

    def _standing_terms(self) -> list[MotionTerm]:
        lifted = {f for f, given in self.positions.items() if given.get("lift_height", 0.0) > 0.0}
        feet = [f for f in FEET if f not in lifted] or list(FEET)
        listed = ", ".join(f"world.{foot}_foot.position" for foot in feet)
        upright = abs(math.remainder(float(self.torso.get("roll", 0.0)), 2 * math.pi)) < 1.0  # type: ignore[arg-type]
        return [
            MotionTerm("balance", f"capture_offset(world, [{listed}])", 1.0 if upright else 0.0, "l2", 0.05),
            MotionTerm("posture", "action", 0.02, "quadratic"),
            MotionTerm("calm", "world.velocities", 1e-4, "quadratic"),
        ]

    def source(self, title: str = "") -> str:
        """The reward program of the description."""
        return program_source(self.terms(), helpers=HELPERS + VELOCITY, title=title)


VELOCITY = '''

def heading_velocity(world):
    c, s = np.cos(world.torso.heading), np.sin(world.torso.heading)
    x, y = world.torso.velocity[..., 0], world.torso.velocity[..., 1]
    return np.stack([c * x + s * y, c * y - s * x], axis=-1)
'''
