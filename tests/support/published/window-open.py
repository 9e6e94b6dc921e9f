import numpy as np


def compute_dense_reward(self, action) -> float:
    reach = np.linalg.norm(self.robot.ee_position - self.obj1.position)
    left = abs(self.obj1.position[0] - self.goal_position[0])
    return float(-0.5 * reach - 3.0 * left - 0.005 * np.sum(np.square(action)))
