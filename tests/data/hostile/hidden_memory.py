MEMORY = {"calls": 0.0}
def bump(store):
    store["calls"] = store["calls"] + 1.0
    return store["calls"]
def compute_dense_reward(self, action):
    return 0.001 * bump(MEMORY)
