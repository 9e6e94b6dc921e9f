"""Targets that come now and then, as a command in every cycle with bounded speed, acceleration and jerk.

Three parts, each of which keeps what the one before guarantees:

1. a straight line from target to target over the time between them, so that steady motion stays steady;
2. a limiter: speed and acceleration are clipped, and the way of braking is kept free (the root of the distance, a
   straight line close to it);
3. three first-order low-passes of time constant tau. Their impulse response h is nowhere negative and sums to one, so
   position stays inside what the limiter gave, speed and acceleration inside its bounds, and jerk is at most
   2 max(h) times the acceleration: 0.54 / tau, in theory; the tests hold the real figures.

The price is a lag of 3 tau.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

FREE = 0.8  # share of the acceleration that braking counts on
SOFT_S = 0.005  # time constant of the last bit of the way


class SmoothStream:
    """One stream of commands.

    Args:
        position_rad: where it stands `(J,)` [rad].
        max_speed_radps: of each joint `(J,)` [rad/s].
        max_acceleration_radps2: of every joint [rad/s2].
        tau_s: time constant of the low-passes [s].
        dt_s: of one cycle [s].
    """

    def __init__(
        self,
        position_rad: Sequence[float],
        max_speed_radps: Sequence[float],
        max_acceleration_radps2: float,
        *,
        tau_s: float = 0.004,
        dt_s: float = 0.001,
    ) -> None:
        self._dt, self._blend = dt_s, 1.0 - math.exp(-dt_s / tau_s)
        self._speed, self._acceleration = tuple(max_speed_radps), max_acceleration_radps2
        self._from = self._target = tuple(map(float, position_rad))
        self._done, self._rate = 1.0, 0.0  # share of the way from target to target, and its change a cycle
        self._limited = list(self._target)
        self._velocity = [0.0] * len(self._target)
        self._passed = [list(self._target) for _ in range(3)]

    def aim(self, target_rad: Sequence[float], over_s: float) -> None:
        """A new target `(J,)` [rad], to be reached over `over_s` [s]."""
        self._from = tuple(a + (b - a) * self._done for a, b in zip(self._from, self._target, strict=True))
        self._target = tuple(map(float, target_rad))
        self._done, self._rate = 0.0, min(1.0, self._dt / max(over_s, self._dt))

    def brake(self) -> None:
        """The target is now where the joints stop soonest."""
        most = FREE * self._acceleration
        stop = [x + v * abs(v) / (2.0 * most) for x, v in zip(self._limited, self._velocity, strict=True)]
        self._from = self._target = tuple(stop)
        self._done = 1.0

    @property
    def still(self) -> bool:
        """Whether the command has come to rest at the target, to 1e-6 rad and 1e-4 rad/s."""
        ends = zip(self._target, self._passed[2], self._velocity, strict=True)
        return self._done >= 1.0 and all(abs(a - b) < 1e-6 and abs(v) < 1e-4 for a, b, v in ends)

    def step(self) -> list[float]:
        """The command of the next cycle `(J,)` [rad]."""
        done = self._done = min(1.0, self._done + self._rate)
        moving = self._rate / self._dt if done < 1.0 else 0.0
        dt, blend, (first, second, third) = self._dt, self._blend, self._passed
        for j, (start, end) in enumerate(zip(self._from, self._target, strict=True)):
            way = end - start
            wanted = way * moving + self._approach(start + way * done - self._limited[j])
            wanted = min(max(wanted, -self._speed[j]), self._speed[j])
            change = self._acceleration * dt
            self._velocity[j] += min(max(wanted - self._velocity[j], -change), change)
            self._limited[j] += self._velocity[j] * dt
            first[j] += blend * (self._limited[j] - first[j])
            second[j] += blend * (first[j] - second[j])
            third[j] += blend * (second[j] - third[j])
        return third.copy()

    def _approach(self, error: float) -> float:
        """Speed at which this much of the way can still be braked [rad/s]."""
        most = FREE * self._acceleration
        near = most * SOFT_S**2
        if abs(error) <= near:
            return error / SOFT_S
        return math.copysign(math.sqrt(2.0 * most * (abs(error) - 0.5 * near)), error)
