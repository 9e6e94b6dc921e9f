import numpy as np


def compute_dense_reward(self, action) -> float:
    left = np.linalg.norm(self.obj1.position - self.goal_position)
    reach = np.linalg.norm(self.robot.ee_position - self.obj1.position)
    reward = -left - 0.2 * reach
    if left < 0.05:
        reward = reward + 5.0
    return reward
