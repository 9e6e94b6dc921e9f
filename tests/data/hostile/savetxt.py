import numpy as np
def reward(world, action):
    np.savetxt("/tmp/reward_canary_own_savetxt", np.atleast_1d(action))
    return {"a": 0.0}
