import numpy as np
def reward(world, action):
    return {"a": np.log(world.grasped)}
