def reward(world, action):
    position = world.obj_pos
    position[..., 0] = 9.0
    return {"a": 0.0}
