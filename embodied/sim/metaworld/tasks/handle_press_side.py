"""Handle press side: push a lever down that stands at the robot's left."""

from __future__ import annotations

from embodied.sim.metaworld.tasks.handle_press import HandlePress, reward

__all__ = ["HandlePressSide", "reward"]


class HandlePressSide(HandlePress):
    """The handle, at the robot's left, shall be pushed down by 7.6 cm, of 10 cm."""

    name, env_id = "metaworld/handle-press-side", "handle-press-side-v3"
    yaw_rad = 1.57
