"""Gymnasium's four-legged Ant (v5), without contact forces in the observation."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.gymnasium_task import GymnasiumTask, free_quantities


def reward(world, action):
    """Gymnasium's Ant-v5 reward without its contact cost: forward speed, 1 for staying healthy, a price of torque."""
    speed = (world.torso.position[..., 0] - world.previous.torso.position[..., 0]) / 0.05
    healthy = (world.torso.position[..., 2] >= 0.2) & (world.torso.position[..., 2] <= 1.0)
    return {
        "forward": speed,
        "healthy": healthy.astype(float),
        "effort": -0.5 * np.sum(action**2, axis=-1),
    }


class Ant(GymnasiumTask):
    """Run forward without falling or leaping."""

    name, xml, frame_skip = "ant", "ant.xml", 5
    quantities = free_quantities(("hip_1", "ankle_1", "hip_2", "ankle_2", "hip_3", "ankle_3", "hip_4", "ankle_4"))
    observation = ("coordinates", "velocities")

    def terminated(self, world: World) -> np.ndarray:
        """Torso below 0.2 m or above 1 m."""
        z = world.torso.position[..., 2]
        return ~((z >= 0.2) & (z <= 1.0))
