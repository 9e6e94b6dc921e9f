def reward(world, action):
    return {"a": world.ee_pos}
