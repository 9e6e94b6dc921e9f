"""From a configuration to a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embodied.core.build import build
from embodied.core.errors import ConfigError
from embodied.sim.task import Task


def build_task(config: Mapping[str, Any], *, trusted_packages: Sequence[str] = (), **changes: Any) -> Task:
    """Builds a task; under `safety` its configuration may hold an envelope that bounds the robot's commands.

    Raises:
        ConfigError: no task, a wrong key, or an envelope that does not fit the robot.
    """
    given = {**config, **changes}
    envelope = given.pop("safety", None)
    task = build(given, trusted_packages=trusted_packages)
    if not isinstance(task, Task):
        raise ConfigError(f"_target_ '{given['_target_']}' is not a task")
    if envelope is not None:
        task.bound_by(build(envelope, trusted_packages=trusted_packages))
    return task
