def compute_dense_reward(self, action):
    total = 0.0
    for i in range(int(1e12)):
        total += 1.0
    return total
