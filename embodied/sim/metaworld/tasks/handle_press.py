"""Handle press: push a lever down; with what all four tasks on this lever share."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import mujoco
import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.engine import BatchEngine
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import both, long_tail
from embodied.sim.reads import Frame, Source, joint_id
from embodied.sim.task import Start

_LEVER = np.array([0.0, -0.05, 0.15])  # in the box, when the lever is up
_GRIP_Y_M = -0.216  # of the goals, in the box
_SETTLING_STEPS = 50  # control steps that the benchmark gives the hand to reach its place


def reward(world, action):
    """Bring the fingers to the handle and its height to the goal's; 10 when it is there."""
    height = np.abs(world.handle.position - world.goal.position)[..., 2]
    first_height = np.abs(world.start.handle - world.goal.position)[..., 2]
    gap = np.linalg.norm(world.handle.position - world.fingers.center, axis=-1)
    first_gap = np.linalg.norm(world.start.handle - world.start.fingers, axis=-1)
    near = long_tail(gap, 0.0, 0.02, np.abs(first_gap - 0.02))
    low = long_tail(height, 0.0, 0.02, np.abs(first_height - 0.02))
    down = height <= 0.02
    return {
        "reach_and_press": np.where(down, 0.0, 10.0 * both(near, low)),
        "pressed": np.where(down, 10.0, 0.0),
    }


def lever_quantities(site: str, handle: str, goal: str) -> dict[Quantity, Source]:
    """What is observed of the lever; `handle` and `goal` say what its observed point and the goal are."""
    return {
        **hand_quantities(),
        Quantity("handle.position", (3,), "m", "world", handle): Frame("site", site),
        **start_quantity("start.handle", "`handle.position` at the start of the episode"),
        **goal_quantity(goal),
    }


class LeverTask(MetaWorldTask):
    """A handle slides up and down by 10 cm on a box that stands on the table."""

    moved_body = "box"
    objects = (("handle.position", None),)
    yaw_rad: ClassVar[float] = 0.0  # of the box
    point: ClassVar[tuple[float, float, float]] = (0.0, -0.166, 0.022)  # the observed point, in the lever
    first: ClassVar[float] = -0.001  # the lever's joint at the start [m]
    goal_height: ClassVar[float] = 0.075  # in the box [m]

    def spec(self) -> mujoco.MjSpec:
        """The package's model; the lever's joint gets a name."""
        spec = super().spec()
        spec.body("handle_link").joints[0].name = "lever"
        return spec

    def start_from(self, draw: np.ndarray) -> Start:
        """The starts of given random vectors; the hand settles anew, as it brushes the lever on its way down."""
        start = super().start_from(draw)
        engine = BatchEngine(self.model, n_envs=len(draw), n_substeps=self.n_substeps, control_spec=self.control_spec)
        engine.states = np.tile(self.home_state(), (len(draw), 1))
        for _ in range(_SETTLING_STEPS):
            engine.step(start.control)
        engine.close()
        # Like the benchmark's, the remembered fingers are those of one physics step before.
        settled = self.readings(engine.states, engine.lagged_sensors(), start.parameters, start.states[:, 0])
        states, lever = engine.states.copy(), joint_id(self.model, "lever")
        for column in (0, 1 + self.model.jnt_qposadr[lever], 1 + self.model.nq + self.model.jnt_dofadr[lever]):
            states[:, column] = start.states[:, column]
        return replace(
            start, states=states, parameters={**start.parameters, "start.fingers": settled["fingers.center"]}
        )

    def layout(self, draw: np.ndarray) -> Layout:
        """The box stands where it was drawn."""
        cos, sin = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        to_world = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        handle = _LEVER + self.point + np.array([0.0, 0.0, self.first])
        return Layout(
            goal=draw + to_world @ [0.0, _GRIP_Y_M, self.goal_height],
            body=draw,
            joints={"lever": np.full(len(draw), self.first)},
            parameters={"start.handle": draw + to_world @ handle},
        )


class HandlePress(LeverTask):
    """The handle shall be pushed down by 7.6 cm, of 10 cm."""

    name, env_id = "metaworld/handle-press", "handle-press-v3"
    quantities = lever_quantities(
        "handleStart",
        "top of the handle's grip, in its middle",
        "where the handle is when it is pressed down (only the height counts)",
    )

    def success(self, world: World) -> np.ndarray:
        """The handle is within 2 cm of the goal's height."""
        return np.abs(world.handle.position - world.goal.position)[..., 2] <= 0.02
