"""Reach, then lift."""
import math

import numpy as np

WEIGHTS = {"reach": 1.0, "effort": 0.01}
SCALE: float = 5.0


def closeness(a: np.ndarray, b: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """One when two points meet."""
    return 1.0 - np.tanh(scale * np.linalg.norm(a - b, axis=-1))


def reward(world, action: np.ndarray) -> dict[str, np.ndarray]:
    terms = {}
    earlier = world.previous
    terms["reach"] = closeness(world.ee_pos, world.obj_pos, SCALE)
    terms["effort"] = -np.sum(action**2, axis=-1) / math.sqrt(4.0)
    terms["progress"] = closeness(world.obj_pos, world.goal_pos) - closeness(earlier.obj_pos, world.goal_pos)
    return {name: WEIGHTS.get(name, 1.0) * value for name, value in terms.items()}
