import numpy as np


def compute_dense_reward(self, action) -> float:
    reach = np.linalg.norm(self.robot.ee_position - self.obj1.position)
    left = abs(self.obj1.position[0] - self.goal_position[0])
    grip = 0.05 * (1.0 - self.robot.gripper_openness)
    return 0.5 * (1.0 - np.tanh(5.0 * reach)) + 2.0 * (1.0 - np.tanh(5.0 * left)) + grip
