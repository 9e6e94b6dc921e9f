import numpy as np
def reward(world, action):
    np.multiply(action, 0.0, out=action)
    return {"a": 0.0}
