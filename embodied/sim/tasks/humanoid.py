"""Gymnasium's Humanoid (v5), without inertia, force and contact blocks in the observation."""

from __future__ import annotations

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.gymnasium_task import GymnasiumTask, free_quantities
from embodied.sim.reads import CenterOfMass

_JOINTS = (
    "abdomen_z",
    "abdomen_y",
    "abdomen_x",
    *(f"{side}_{joint}" for side in ("right", "left") for joint in ("hip_x", "hip_z", "hip_y", "knee")),
    *(f"{side}_{joint}" for side in ("right", "left") for joint in ("shoulder1", "shoulder2", "elbow")),
)


def reward(world, action):
    """Humanoid-v5's reward without its contact cost: speed of the centre of mass, 5 for staying healthy, effort."""
    speed = (world.body.center_of_mass[..., 0] - world.previous.body.center_of_mass[..., 0]) / 0.015
    healthy = (world.torso.position[..., 2] > 1.0) & (world.torso.position[..., 2] < 2.0)
    return {
        "forward": 1.25 * speed,
        "healthy": 5.0 * healthy,
        "effort": -0.1 * 0.16 * np.sum(action**2, axis=-1),
    }


class Humanoid(GymnasiumTask):
    """Run forward without falling."""

    name, xml, frame_skip, normal_velocity_noise = "humanoid", "humanoid.xml", 5, False
    quantities = {
        **free_quantities(dict.fromkeys(_JOINTS, ""), start_height_m=1.4),
        Quantity("body.center_of_mass", (3,), "m", "world", "centre of mass of the whole body"): CenterOfMass("torso"),
    }
    observation = ("coordinates", "velocities")

    def terminated(self, world: World) -> np.ndarray:
        """Torso below 1 m or above 2 m."""
        z = world.torso.position[..., 2]
        return ~((z > 1.0) & (z < 2.0))
