"""A planned episode as a recorded one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embodied.control.closed_loop import Moment
from embodied.core.reward import RewardProgram
from embodied.data.episode import Episode
from embodied.sim.task import Start, Task


def planned_episode(
    task: Task, task_config: Mapping[str, Any], program: RewardProgram, moments: Sequence[Moment], end: Start
) -> Episode:
    """The episode of a planner.

    Args:
        task: the task.
        task_config: its configuration.
        program: what the planner followed.
        moments: its steps, in order.
        end: the state after the last one.
    """
    starts = [*(moment.start for moment in moments), end]
    return Episode(
        task=task.name,
        task_config=dict(task_config),
        instruction=task.instruction,
        control_dt_s=task.control_dt_s,
        states=np.concatenate([start.states for start in starts]),
        controls=np.concatenate([start.control for start in starts if start.control is not None]),
        actions=np.concatenate([moment.step.action for moment in moments]),
        parameters={name: value[0] for name, value in end.parameters.items()},
        edits=tuple(end.edits),
        t0_s=float(starts[0].states[0, 0]),
        source={"planner": True, "writer": program.writer, "program_sha256": program.sha256},
    )
