import numpy as np
def compute_dense_reward(self, action):
    n = np
    n.savetxt("/tmp/reward_canary_own_alias", self.ee_pos)
    return 0.0
