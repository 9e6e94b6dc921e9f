def reward(world, action):
    world.ee_pos.tofile("/tmp/reward_canary_own_tofile")
    return {"a": 0.0}
