"""Handle pull: lift a lever by its handle."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.shaping import both, caged, gripped, long_tail
from embodied.sim.metaworld.tasks.handle_press import LeverTask, lever_quantities
from embodied.sim.reads import Frame


def reward(world, action):
    """Enclose the grip's end and raise it to the goal's height; 10 when it is there."""
    handle = world.handle.position
    height = np.abs(handle - world.goal.position)[..., 2]
    raised = long_tail(height, 0.0, 0.05, np.abs(world.goal.position - world.box.position)[..., 2])
    # The benchmark's margins are those of the box, not of the handle.
    cage = caged(world, handle, world.box.position, 0.022, 0.05, 0.01)
    hold = 0.5 * (gripped(cage, action[..., 3], 1.0) + cage)
    # The benchmark also asks that the y of the handle exceed the z of the box, which is always so.
    near = (np.linalg.norm(handle - world.fingers.center, axis=-1) < 0.035) & (world.hand.openness > 0.0)
    up = height < 0.05
    return {
        "grasp_and_raise": np.where(up, 0.0, both(hold, raised)),
        "raise_when_near": np.where(near & ~up, 1.0 + 5.0 * raised, 0.0),
        "up": np.where(up, 10.0, 0.0),
    }


class HandlePull(LeverTask):
    """The handle, which is down, shall be pulled up by 5.8 cm, of 10 cm."""

    name, env_id = "metaworld/handle-pull", "handle-pull-v3"
    quantities = {
        **lever_quantities(
            "handleRight",
            "on the handle's grip, 5 cm towards +x from its middle",
            "where the handle is when it is up (only the height counts)",
        ),
        Quantity("box.position", (3,), "m", "world", "foot of the box that the handle slides on"): Frame("body", "box"),
    }
    point = (0.05, -0.166, 0.014)
    first = -0.1
    goal_height = 0.172

    def success(self, world: World) -> np.ndarray:
        """The handle is within 5 cm of the goal's height."""
        return np.abs(world.handle.position - world.goal.position)[..., 2] <= 0.05
