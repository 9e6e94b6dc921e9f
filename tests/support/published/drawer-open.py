import numpy as np


def compute_dense_reward(self, action) -> float:
    reach = np.linalg.norm(self.robot.ee_position - self.obj1.position)
    left = np.linalg.norm(self.obj1.position - self.goal_position)
    reward = 0.5 * (1.0 - np.tanh(5.0 * reach)) + 2.0 * (1.0 - np.tanh(5.0 * left))
    return reward - 0.01 * np.linalg.norm(action), {"reach": reach, "left": left}
