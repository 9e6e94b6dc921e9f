"""Gymnasium's one-legged Hopper (v5)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.gymnasium_task import GymnasiumTask, planar_quantities


def reward(world, action):
    """Gymnasium's Hopper-v5 reward: forward speed, 1 for staying healthy, a small price of torque."""
    speed = (world.torso.position_x - world.previous.torso.position_x) / 0.008
    healthy = (world.torso.position_z > 0.7) & (np.abs(world.torso.pitch) < 0.2)
    return {
        "forward": speed,
        "healthy": healthy.astype(float),
        "effort": -1e-3 * np.sum(action**2, axis=-1),
    }


class Hopper(GymnasiumTask):
    """Hop forward without falling."""

    name, xml, frame_skip, normal_velocity_noise = "hopper", "hopper.xml", 4, False
    quantities = planar_quantities(("thigh_joint", "leg_joint", "foot_joint"), start_height_m=1.25, clip_velocity=True)
    observation = ("coordinates", "velocities_clipped")

    def terminated(self, world: World) -> np.ndarray:
        """Fallen: too low, tilted, or any coordinate beyond 100."""
        bounded = (np.abs(world.coordinates[..., 1:]) < 100).all(-1) & (np.abs(world.velocities) < 100).all(-1)
        upright = (world.torso.position_z > 0.7) & (np.abs(world.torso.pitch) < 0.2)
        return ~(bounded & upright)
