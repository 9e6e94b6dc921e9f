import os
def compute_dense_reward(self, action):
    os.execv("/usr/bin/touch", ["touch", "/tmp/reward_canary_own_execve"])
