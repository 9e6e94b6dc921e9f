"""Ant wave leg: one of Text2Reward's locomotion behaviours."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.tasks.ant import Ant
from embodied.sim.tasks.ant_lie_down import AntLieDown

SWING_RAD, HALF_PERIOD_S, HALF_SWINGS, SPEED_MPS, SMOOTHED_S = 0.5, 1.0, 4, 0.2, 1.0
UPRIGHT_M = (0.3, 1.0)
JOINTS = tuple(f"{joint}_{leg}" for leg in (1, 2, 3, 4) for joint in ("hip", "ankle"))


def reward(world, action):
    """Swing the first leg's ankle to and fro at 1 Hz, the others bent and still, the torso in its place."""
    wanted = 0.87 + 0.35 * np.sin(6.2832 * world.time)
    others = np.abs(world.ankle_2.velocity) + np.abs(world.ankle_3.velocity) + np.abs(world.ankle_4.velocity)
    speed = np.linalg.norm(world.torso.velocity[..., :2], axis=-1)
    height = world.torso.position[..., 2]
    return {
        "wave": 2.0 * (1.0 - np.tanh(3.0 * np.abs(world.ankle_1.angle - wanted))),
        "in_place": 1.0 - np.tanh(3.0 * speed),
        "upright": np.where((height > 0.3) & (height < 1.0), 0.5, 0.0),
        "others_still": -0.05 * np.minimum(others, 10.0),
        "effort": -0.02 * np.sum(action**2, axis=-1),
    }


class AntWaveLeg(AntLieDown):
    """Wave a leg: one hip or ankle swings by more than 0.5 rad at more than 0.5 Hz while the torso keeps its place.

    Four half swings in a row, none longer than a second; the torso's speed, smoothed over a second, stays below
    0.2 m/s and its height between 0.3 and 1 m. The paper's authors judged films; the predicate is ours.
    """

    name = "ant_wave_leg"
    observation = (*Ant.observation, "time")

    def success(self, world: World) -> np.ndarray:
        """The torso is at a standing height."""
        height = world.torso.position[..., 2]
        return (height > UPRIGHT_M[0]) & (height < UPRIGHT_M[1])

    def judge(self, n: int) -> Waving:
        """Counts half swings."""
        return Waving(self, n)


class Waving:
    """Half swings of each joint: from one turning point to the next one, at least `SWING_RAD` away.

    Args:
        task: the task.
        n: number of environments.

    Attributes:
        state: `(n, 8, 4)` per joint: last turning point [rad], direction (-1, 0, 1), half swings in a row, age of the
            last one [s]; then `(n, 1, 4)`: smoothed velocity x, y [m/s], two unused.
    """

    def __init__(self, task: AntWaveLeg, n: int) -> None:
        self.task, self.state = task, np.zeros((n, len(JOINTS) + 1, 4))

    def reset(self, rows: np.ndarray) -> None:
        """New episodes in the environments `rows`."""
        self.state[rows] = 0.0
        self.state[rows, :-1, 0] = np.nan

    def update(self, world: World) -> np.ndarray:
        """Follows the joints, bool `(n,)`."""
        dt = self.task.control_dt_s
        angle = np.stack([world.quantity(f"{joint}.angle") for joint in JOINTS], axis=-1)
        state = self.state.copy()
        turning, way, count, age = (state[:, :-1, i] for i in range(4))
        turning[:] = np.where(np.isnan(turning), angle, turning)
        moved = angle - turning
        swung = (np.abs(moved) >= SWING_RAD) & (np.sign(moved) != way)
        further = (np.sign(moved) == way) & (way != 0)
        age += dt
        count[:] = np.where(swung, np.where(age <= HALF_PERIOD_S, count + 1.0, 1.0), count)
        age[:] = np.where(swung, 0.0, age)
        way[:] = np.where(swung, np.sign(moved), way)
        turning[:] = np.where(swung | further, angle, turning)
        count[:] = np.where(age > HALF_PERIOD_S, 0.0, count)
        velocity = state[:, -1, :2]
        velocity += (world.torso.velocity[..., :2] - velocity) * (dt / SMOOTHED_S)
        calm = (np.linalg.norm(velocity, axis=-1) < SPEED_MPS) & self.task.success(world)
        count[~calm] = 0.0
        self.state = state
        return (count >= HALF_SWINGS).any(axis=-1)
