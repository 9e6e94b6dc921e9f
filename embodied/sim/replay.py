"""What was recorded of one robot's physics, as the worlds that it went through."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from embodied.core.world import World
from embodied.sim.engine import BatchEngine
from embodied.sim.task import Task


def worlds_of(
    task: Task, states: np.ndarray, controls: np.ndarray, parameters: Mapping[str, np.ndarray], t0_s: float
) -> World:
    """The worlds after each of T actions, batch shape `(T,)`, with their previous worlds; sensors are read exactly.

    Args:
        task: whose model moved, unchanged.
        states: full physics states `(T + 1, n_state)`.
        controls: that acted before each state `(T + 1, n_control)`.
        parameters: of the episode.
        t0_s: when it began [s].
    """
    n = len(states)
    engine = BatchEngine(task.model, n_envs=n, n_substeps=task.n_substeps, control_spec=task.control_spec)
    try:
        sensors = engine.read(states, control=controls)
    finally:
        engine.close()
    wide = {name: np.broadcast_to(value, (n, *np.shape(value))) for name, value in parameters.items()}
    t0 = np.full(n, t0_s)

    def at(rows: slice, previous: World | None = None) -> World:
        given = {name: value[rows] for name, value in wide.items()}
        return task.world(states[rows], sensors[rows], given, t0[rows], previous)

    return at(slice(1, None), at(slice(0, -1)))
