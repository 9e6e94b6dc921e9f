"""Primitive skills of the manipulator: the baseline that Language to Rewards (arXiv:2306.08647) is compared with.

As in the paper's Code-as-Policies baseline, a model calls skills that are ready made, here one after the other: bring
the hand somewhere, open it, close it. Deviations: a script runs before the robot moves, so that places are named, or
given as numbers, and each skill has a fixed time in the episode; the hand points down and closes level, as nothing in
the paper lets it turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from embodied.core.errors import RewardCodeError
from embodied.rewards.manipulator_motion import HOME, POINTS, checked_name
from embodied.rewards.motion_terms import MotionTerm, checked_number, program_source

MOVE_S, GRIP_S = 2.5, 1.0  # how long a skill takes
MOST_SKILLS = 20
PLACES = {name: point for name, point in POINTS.items() if name != "palm"}
_REACH = {"x": (-0.8, 0.9), "y": (-0.9, 0.9), "z": (0.0, 1.0)}


class ManipulatorSkills:
    """Collects the calls of one answer; see `ManipulatorMotion`."""

    def __init__(self) -> None:
        self.reset_reward()

    def calls(self) -> Mapping[str, Callable[..., None]]:
        """The functions that an answer may call, by name."""
        return {
            "reset_reward": self.reset_reward,
            "end_effector_to": self.end_effector_to,
            "end_effector_open": self.end_effector_open,
            "end_effector_close": self.end_effector_close,
            "execute_plan": self.execute_plan,
        }

    def reset_reward(self) -> None:
        """Begins anew, the hand open where it rests."""
        self._place, self._openness, self._now = PLACES["rest_position"], 1.0, 0.0
        self.steps: list[tuple[float, str, float]] = []  # until when [s], place as code, openness
        self._executed = False

    def end_effector_to(self, place: Any, height: float | None = None) -> None:
        """Brings the point between the fingertips to a place.

        Args:
            place: one of `PLACES`, or [x, y, z] in the world [m].
            height: above the table instead of the place's own [m]; None takes that.
        """
        call = "end_effector_to"
        if isinstance(place, list | tuple):
            if len(place) != 3:
                raise RewardCodeError(f"{call}: place={place!r} must be [x, y, z] or one of {', '.join(PLACES)}")
            pairs = zip(_REACH.items(), place, strict=True)
            numbers = [checked_number(call, axis, value, *limits) for (axis, limits), value in pairs]
            code = f"np.array([{', '.join(f'{n:g}' for n in numbers)}])"
        else:
            code = PLACES[checked_name(call, "place", place, PLACES)]
        if height is not None:
            code = f"at_height({code}, {checked_number(call, 'height', height, 0.0, 1.0):g})"
        self._place = code
        self._add(MOVE_S)

    def end_effector_open(self) -> None:
        """Opens the fingers where the hand is."""
        self._openness = 1.0
        self._add(GRIP_S)

    def end_effector_close(self) -> None:
        """Closes the fingers where the hand is; they keep their grip."""
        self._openness = 0.0
        self._add(GRIP_S)

    def _add(self, seconds: float) -> None:
        if len(self.steps) == MOST_SKILLS:
            raise RewardCodeError(f"more than {MOST_SKILLS} skills: the robot has no time for them")
        self._now += seconds
        self.steps.append((self._now, self._place, self._openness))

    def execute_plan(self, plan_duration: float = 10.0) -> None:
        """Ends the answer; nothing moves without it."""
        checked_number("execute_plan", "plan_duration", plan_duration, 0.0, 600.0)
        self._executed = True

    def terms(self) -> list[MotionTerm]:
        """The motion terms of the skills; what follows the last one is more of it.

        Raises:
            RewardCodeError: no skill, or `execute_plan()` was not called.
        """
        if not self._executed or not self.steps:
            raise RewardCodeError("the answer must call a skill and end with execute_plan(), or nothing would move")
        return [
            MotionTerm("palm", "world.palm.position - place(world)", 5.0, "l2", 0.02),
            MotionTerm("fingers", "scalar(world.fingers.set_openness - openness(world))", 2.0, "smooth_abs", 0.02),
            MotionTerm("approach", "scalar(world.palm.approach_axis[..., 2] + 1.0)", 1.0, "smooth_abs", 0.1),
            MotionTerm("level", "scalar(world.palm.closing_axis[..., 2])", 1.0, "smooth_abs", 0.1),
            MotionTerm("effort", "action", 0.02, "quadratic"),
            MotionTerm("calm", "world.arm.joint_velocities", 0.01, "quadratic"),
            MotionTerm("posture", "world.arm.joint_positions - HOME", 0.02, "quadratic"),
        ]

    def source(self, title: str = "") -> str:
        """The reward program of the skills."""
        terms = self.terms()
        places = "".join(f"        {place} + 0.0 * world.palm.position,\n" for _, place, _ in self.steps)
        helpers = (
            f"{HOME}\nENDS = np.array([{', '.join(f'{end:g}' for end, _, _ in self.steps)}])\n"
            f"OPENNESS = np.array([{', '.join(f'{o:g}' for _, _, o in self.steps)}])\n\n\n"
            "def at_height(place, height):\n"
            "    return np.stack([place[..., 0], place[..., 1], 0.0 * place[..., 2] + height], axis=-1)\n\n\n"
            "def turn(world):\n"
            "    begun = np.sum(scalar(world.time + 1e-6) >= ENDS, axis=-1)\n"
            "    return np.minimum(begun, len(ENDS) - 1)\n\n\n"
            "def openness(world):\n"
            "    return OPENNESS[turn(world)]\n\n\n"
            "def place(world):\n"
            f"    places = [\n{places}    ]\n"
            "    now = scalar(turn(world))\n"
            "    return sum((now == i) * there for i, there in enumerate(places))\n"
        )
        return program_source(terms, helpers=helpers, title=title)
