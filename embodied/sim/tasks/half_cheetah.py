"""Gymnasium's HalfCheetah (v5)."""

from __future__ import annotations

import numpy as np

from embodied.sim.gymnasium_task import GymnasiumTask, planar_quantities


def reward(world, action):
    """Gymnasium's HalfCheetah-v5 reward: forward speed and a price of torque."""
    speed = (world.torso.position_x - world.previous.torso.position_x) / 0.05
    return {"forward": speed, "effort": -0.1 * np.sum(action**2, axis=-1)}


class HalfCheetah(GymnasiumTask):
    """Run forward."""

    name, xml, frame_skip = "half_cheetah", "half_cheetah.xml", 5
    quantities = planar_quantities(
        ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"), start_height_m=0.0, clip_velocity=False
    )
    observation = ("coordinates", "velocities")
