"""Gymnasium's Walker2d (v5)."""

from __future__ import annotations

import numpy as np

from embodied.core.world import World
from embodied.sim.gymnasium_task import GymnasiumTask, planar_quantities


def reward(world, action):
    """Gymnasium's Walker2d-v5 reward: forward speed, 1 for staying healthy, a small price of torque."""
    speed = (world.torso.position_x - world.previous.torso.position_x) / 0.008
    healthy = (world.torso.position_z > 0.8) & (world.torso.position_z < 2.0) & (np.abs(world.torso.pitch) < 1.0)
    return {
        "forward": speed,
        "healthy": healthy.astype(float),
        "effort": -1e-3 * np.sum(action**2, axis=-1),
    }


class Walker2d(GymnasiumTask):
    """Walk forward without falling."""

    name, xml, frame_skip, normal_velocity_noise = "walker2d", "walker2d_v5.xml", 4, False
    quantities = planar_quantities(
        ("thigh_joint", "leg_joint", "foot_joint", "thigh_left_joint", "leg_left_joint", "foot_left_joint"),
        start_height_m=1.25,
        clip_velocity=True,
    )
    observation = ("coordinates", "velocities_clipped")

    def terminated(self, world: World) -> np.ndarray:
        """Fallen: torso outside 0.8 to 2 m or tilted by more than 1 rad."""
        z, pitch = world.torso.position_z, world.torso.pitch
        return ~((z > 0.8) & (z < 2.0) & (np.abs(pitch) < 1.0))
