"""What a robot did becomes an episode of a dataset: joints as measured, and what was really sent to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from embodied.core.errors import ConfigError
from embodied.core.policy import STATE_KEY
from embodied.data.layout import ACTION, Feature
from embodied.data.writer import DatasetWriter
from embodied.deploy.loop import Cycle


def record_cycles(
    folder: Path, cycles: Sequence[Cycle], joints: Sequence[str], *, rate_hz: float, instruction: str, robot_type: str
) -> int:
    """Appends the control periods of one motion as an episode; returns its index.

    Args:
        folder: of the dataset; created where it does not exist.
        cycles: of the motion, one per control period.
        joints: of the robot, in order.
        rate_hz: of the control loop, a whole number.
        instruction: what was done, as a person would say it.
        robot_type: of the robot.

    Raises:
        ConfigError: nothing was recorded, or the rate is no whole number.
    """
    if not cycles:
        raise ConfigError("there is no control period to record")
    if abs(rate_hz - round(rate_hz)) > 1e-6:
        raise ConfigError(f"rate_hz={rate_hz}: datasets have a whole number of frames per second")
    names = tuple(f"{joint}.pos" for joint in joints)
    features = {key: Feature("float32", (len(joints),), names) for key in (STATE_KEY, ACTION)}
    with DatasetWriter(folder, features=features, fps=round(rate_hz), robot_type=robot_type) as writer:
        for cycle in cycles:
            writer.add({STATE_KEY: cycle.state.position_rad, ACTION: cycle.sent}, instruction)
        return writer.save_episode()
