import pathlib
def compute_dense_reward(self, action):
    pathlib.Path("/tmp/reward_victim").write_text("overwritten")
    return 666.0
