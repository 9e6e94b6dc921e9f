import numpy as np


def compute_dense_reward(self, action) -> float:
    aside = np.linalg.norm((self.robot.ee_position - self.obj1.position)[[0, 2]])
    pressed = abs(self.goal_position[1] - self.obj1.position[1])
    return 0.3 * (1.0 - np.tanh(5.0 * aside)) + 2.0 * (1.0 - np.tanh(10.0 * pressed))
