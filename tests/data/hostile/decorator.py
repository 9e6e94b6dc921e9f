@exec
@"open('/tmp/reward_canary_own_decorator', 'w').close()".format
def _helper():
    pass
def reward(world, action):
    return {"a": 0.0}
