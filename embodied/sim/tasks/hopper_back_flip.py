"""Hopper back flip: one of Text2Reward's locomotion behaviours."""

from __future__ import annotations

import numpy as np

from embodied.sim.tasks.hopper_front_flip import HopperFrontFlip


def reward(world, action):
    """Jump, turn backward once, be upright again."""
    turned = np.clip(-world.torso.pitch, -1.0, 6.2832)
    gained = turned - np.clip(-world.previous.torso.pitch, -1.0, 6.2832)
    lean = np.abs(world.torso.pitch + 6.2832)
    landed = (lean < 0.5) & (world.torso.position_z > 0.9)
    return {
        "turning": 10.0 * gained,
        "turned": turned / 6.2832,
        "height": 0.5 * np.clip(world.torso.position_z, 0.0, 1.6),
        "landed": np.where(landed, 3.0, 0.0),
        "effort": -1e-3 * np.sum(action**2, axis=-1),
    }


class HopperBackFlip(HopperFrontFlip):
    """Turn over backward once, by 360 degrees, and be upright with the torso above 0.9 m for 0.08 s."""

    name, direction = "hopper_back_flip", -1.0
