def reward(world: open("/tmp/reward_canary_own_annotation", "w").close(), action):
    return {"a": 0.0}
