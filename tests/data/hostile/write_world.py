def reward(world, action):
    world.obj_pos[..., 0] = 9.0
    return {"a": 0.0}
