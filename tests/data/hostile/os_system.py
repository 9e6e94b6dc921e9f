import os
def reward(world, action):
    os.system("touch /tmp/reward_canary_own_system")
    return {"a": 0.0}
