import numpy as np


def compute_dense_reward(self, action) -> float:
    distance = np.linalg.norm(self.robot.ee_position - self.goal_position)
    return float(1.0 - np.tanh(5.0 * distance) - 0.01 * np.linalg.norm(action))
