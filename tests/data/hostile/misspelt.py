import numpy as np
def reward(world, action):
    return {"a": -np.linalg.norm(world.obj_position - world.goal_pos, axis=-1)}
