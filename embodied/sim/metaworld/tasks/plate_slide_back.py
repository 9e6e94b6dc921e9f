"""Plate slide back: pull a puck out of a shelf."""

from __future__ import annotations

from embodied.sim.metaworld.tasks.plate_slide import PlateSlide, puck_quantities
from embodied.sim.metaworld.tasks.plate_slide_side import reward

__all__ = ["PlateSlideBack", "reward"]


class PlateSlideBack(PlateSlide):
    """The puck shall be pulled out of the shelf towards the robot, to within 7 cm of the goal."""

    name, env_id, moved_body = "metaworld/plate-slide-back", "plate-slide-back-v3", None
    quantities = puck_quantities(
        "middle of the shelf; the puck starts 10 cm in front of it, in the shelf's opening",
        "where the puck shall be, in front of the shelf",
    )
    puck = (0.0, 0.15)
