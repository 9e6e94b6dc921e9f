"""Plate slide back side: pull a puck sideways out of a shelf."""

from __future__ import annotations

from embodied.sim.metaworld.tasks.plate_slide import PlateSlide, puck_quantities
from embodied.sim.metaworld.tasks.plate_slide_side import reward

__all__ = ["PlateSlideBackSide", "reward"]


class PlateSlideBackSide(PlateSlide):
    """The puck shall be pulled to the right out of the shelf, to within 7 cm of the goal."""

    name, env_id = "metaworld/plate-slide-back-side", "plate-slide-back-side-v3"
    quantities = puck_quantities(
        "middle of the shelf; the puck starts 10 cm to the right of it, in the shelf's opening",
        "where the puck shall be, to the right of the shelf",
    )
    puck = (-0.15, 0.0)
    shelf = slice(0, 3)
