"""Starts at which the hand has brushed the prop on its way down, so that where it rests depends on the episode."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from embodied.sim.engine import BatchEngine
from embodied.sim.metaworld.base import MetaWorldTask
from embodied.sim.reads import joint_id
from embodied.sim.task import Start


class BrushedTask(MetaWorldTask):
    """Base of the tasks whose prop with one joint can be in the way of the hand while it goes to its place."""

    settling_steps: ClassVar[int] = 50  # control steps that the benchmark gives the hand to reach its place
    brushed_joint: ClassVar[str | None]  # what the layout sets after the hand has settled, or nothing

    def start_from(self, draw: np.ndarray) -> Start:
        """The starts of given random vectors; the hand settles anew for each."""
        start = super().start_from(draw)
        engine = BatchEngine(self.model, n_envs=len(draw), n_substeps=self.n_substeps, control_spec=self.control_spec)
        engine.states = np.tile(self.home_state(), (len(draw), 1))
        for _ in range(self.settling_steps):
            engine.step(start.control)
        engine.close()
        # Like the benchmark's, the remembered fingers are those of one physics step before.
        settled = self.readings(engine.states, engine.lagged_sensors(), start.parameters, start.states[:, 0])
        states, columns = engine.states.copy(), [0]
        if self.brushed_joint is not None:
            joint = joint_id(self.model, self.brushed_joint)
            columns += [1 + self.model.jnt_qposadr[joint], 1 + self.model.nq + self.model.jnt_dofadr[joint]]
        states[:, columns] = start.states[:, columns]
        return replace(
            start, states=states, parameters={**start.parameters, "start.fingers": settled["fingers.center"]}
        )
