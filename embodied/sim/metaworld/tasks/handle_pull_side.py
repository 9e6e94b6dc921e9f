"""Handle pull side: lift a lever that stands at the robot's left."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.metaworld.shaping import both, caged, gripped, long_tail
from embodied.sim.metaworld.tasks.handle_press import LeverTask, lever_quantities


def reward(world, action):
    """Enclose the lever and raise it to the goal; 10 when it is there."""
    handle = world.handle.position
    left = np.linalg.norm(handle - world.goal.position, axis=-1)
    raised = long_tail(left, 0.0, 0.05, np.linalg.norm(world.start.handle - world.goal.position, axis=-1))
    cage = caged(world, handle, world.start.handle, 0.032, 0.06, 0.01)
    hold = 0.5 * (gripped(cage, action[..., 3], 1.0) + cage)
    near = (np.linalg.norm(handle - world.fingers.center, axis=-1) < 0.035) & (world.hand.openness > 0.0)
    lifted = near & (handle[..., 2] - 0.01 > world.start.handle[..., 2])
    up = left < 0.05
    return {
        "grasp_and_raise": np.where(up, 0.0, both(hold, raised)),
        "lifted": np.where(lifted & ~up, 1.0 + 5.0 * raised, 0.0),
        "up": np.where(up, 10.0, 0.0),
    }


class HandlePullSide(LeverTask):
    """The handle, which is down and at the robot's left, shall be pulled up by 5.7 cm, of 10 cm."""

    name, env_id = "metaworld/handle-pull-side", "handle-pull-side-v3"
    quantities = lever_quantities(
        "handleCenter",
        "middle of the handle's lever, 5 cm from its grip",
        "above the grip of the raised handle; `handle.position` can come no nearer than 5 cm",
    )
    yaw_rad = 1.57
    point = (0.0, -0.12, 0.0)
    first = -0.1
    goal_height = 0.172

    def success(self, world: World) -> np.ndarray:
        """The lever is within 8 cm of the goal."""
        return np.linalg.norm(world.handle.position - world.goal.position, axis=-1) <= 0.08
