import numpy as np


def compute_dense_reward(self, action) -> float:
    # No price of actions: on this task it would outweigh the rest for a motionless arm.
    reach = np.linalg.norm(self.robot.ee_position - self.obj1.position)
    down = max(self.obj1.position[2] - self.goal_position[2], 0.0)
    return 0.2 * (1.0 - np.tanh(5.0 * reach)) + 2.0 * (1.0 - np.tanh(20.0 * down))
