"""Hammer: drive a nail into a block with a hammer."""

from __future__ import annotations

import mujoco
import numpy as np
from mujoco import rollout

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities, start_quantity
from embodied.sim.metaworld.shaping import caged, gripped, long_tail
from embodied.sim.reads import Frame, JointPosition


def reward(world, action):
    """Grip the handle, lift the hammer without tilting it, bring its head to the goal; 10 when the nail is in."""
    hammer, hand = world.hammer.position, world.hand.position
    tilt = np.linalg.norm(world.hammer.quaternion - np.array([1.0, 0.0, 0.0, 0.0]), axis=-1)
    level = np.maximum(1.0 - tilt / 0.4, 0.0)

    # Any place on the handle will do: within 7 cm of its middle the place is at the hand's x.
    along = hand[..., 0] - hammer[..., 0]
    shift = np.where(np.abs(along) < 0.07, along, 0.0)[..., None]
    cage = caged(world, hammer + shift * np.array([1.0, 0.0, 0.0]), world.start.hammer, 0.015, 0.02, 0.01)
    grasp = level * (cage + gripped(cage, action[..., 3], 1.0))

    head = hammer + np.array([0.16, 0.06, 0.0])
    lift = level * np.where(head[..., 2] > 0.02, 0.6, 0.0)
    strike = level * 5.4 * long_tail(np.linalg.norm(world.goal.position - head, axis=-1), 0.0, 0.02, 0.2)
    driven = (world.nail.depth > 0.09) & (grasp + lift + strike > 5.0)
    return {
        "grasp": np.where(driven, 0.0, grasp),
        "lift": np.where(driven, 0.0, lift),
        "strike": np.where(driven, 0.0, strike),
        "driven_in": np.where(driven, 10.0, 0.0),
    }


class SettlingTask(MetaWorldTask):
    """Base of the tasks with a free object, which may have to come to rest at the start."""

    def settled(self, place: np.ndarray, steps: int = 250) -> np.ndarray:
        """States `(n, n_state)` once things have come to rest around the moved body, which is at `place (n, 3)`.

        The benchmark lets things fall from where the model has them, among the episode's moved body, and then places
        the object but keeps its orientation or spin. `steps` are the physics steps that this takes.
        """
        assert self.moved_body is not None, "only a moved body makes the rest depend on the episode"
        control = np.tile(self._rested[1], (len(place), 1))
        control[:, self._mocap_columns(self.moved_body)[0]] = place
        states, _ = rollout.rollout(
            self.model,
            mujoco.MjData(self.model),
            np.tile(self.home_state(), (len(place), 1)),
            np.repeat(control[:, None], steps, axis=1),
            control_spec=self.control_spec,
            nstep=steps,
        )
        return np.asarray(states)[:, -1]


class Hammer(SettlingTask):
    """The nail shall be driven more than 9 cm into the block."""

    name, env_id = "metaworld/hammer", "hammer-v3"
    quantities = {
        **hand_quantities(),
        Quantity("hammer.position", (3,), "m", "world", "middle of the hammer's handle, which lies along x"): Frame(
            "body", "hammer"
        ),
        Quantity("hammer.quaternion", (4,), "1", "world", "orientation of the hammer, w x y z"): Frame(
            "body", "hammer", "quaternion"
        ),
        Quantity("hammer.head", (3,), "m", "world", "middle of the hammer's head, whose faces are 7 cm away along y"): (
            Frame("geom", "HammerHead")
        ),
        Quantity("nail.position", (3,), "m", "world", "head of the nail, which is driven along +y"): Frame(
            "body", "nail_link"
        ),
        Quantity("nail.depth", (), "m", "-", "how far the nail has been driven, 0 to 0.1"): JointPosition(
            "NailSlideJoint"
        ),
        **start_quantity("start.hammer", "`hammer.position` at the start of the episode"),
        **goal_quantity("where the nail's head is once it is driven in"),
    }
    objects = (("hammer.position", "hammer.quaternion"), ("nail.position", np.array([1.0, 0.0, 0.0, 0.0])))

    def layout(self, draw: np.ndarray) -> Layout:
        """The hammer lies where it was drawn, turned as it came to rest; the block stays."""
        goal = np.tile([0.24, 0.74, 0.11], (len(draw), 1))
        return Layout(goal=goal, joints={"hammerbody": draw}, parameters={"start.hammer": draw})

    def success(self, world: World) -> np.ndarray:
        """The nail is driven in by more than 9 cm."""
        return world.nail.depth > 0.09
