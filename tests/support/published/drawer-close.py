import numpy as np


def compute_dense_reward(self, action) -> float:
    # Push the drawer's handle to the goal with the hand behind it.
    reach = np.linalg.norm(self.robot.ee_position - self.obj1.position)
    left = np.linalg.norm(self.obj1.position[:2] - self.goal_position[:2])
    reward = 0.3 * (1.0 - np.tanh(5.0 * reach)) + 1.0 - np.tanh(10.0 * left)
    if left < 0.02:
        reward += 2.0
    return reward - 0.01 * np.linalg.norm(action)
