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


_JOINTS = {
    name: f", {low} to {high}"
    for i, (low, high) in enumerate(((0.52, 1.22), (-1.22, -0.52), (-1.22, -0.52), (0.52, 1.22)), 1)
    for name, low, high in ((f"hip_{i}", -0.52, 0.52), (f"ankle_{i}", low, high))
}


class Ant(GymnasiumTask):
    """Run forward without falling or leaping."""

    name, xml, frame_skip = "ant", "ant.xml", 5
    quantities = free_quantities(_JOINTS, start_height_m=0.75)
    observation = ("coordinates", "velocities")

    def terminated(self, world: World) -> np.ndarray:
        """Torso below 0.2 m or above 1 m."""
        z = world.torso.position[..., 2]
        return ~((z >= 0.2) & (z <= 1.0))
