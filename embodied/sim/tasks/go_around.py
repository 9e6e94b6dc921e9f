"""Go around: the hand shall pass a post, on whichever side. What to do is not one action but two, equally good.

Demonstrators hesitate for a time that cannot be foreseen, then pass it left and right in equal shares. So the mean of
what they do leads into the post, and the median stands still: at no moment does more than half of them go one way. It
is the set on which heads that give one answer differ from those that give a distribution.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.metaworld.base import Layout, MetaWorldTask, goal_quantity, hand_quantities
from embodied.sim.reads import Parameter

KEEP_OUT_M, NEAR_M = 0.1, 0.04
_POST_RADIUS_M, _POST_HALF_HEIGHT_M = 0.03, 0.15
_POST_LOW_M, _POST_HIGH_M = np.array([-0.03, 0.715]), np.array([0.03, 0.735])
_BEHIND_M = 0.15  # from the post to the goal
_PUCK_M = np.array([0.35, 0.85, 0.02])  # of the Meta-World scene; plays no part
_BESIDE_M = np.array([[0.14, -0.07], [0.14, 0.07]])  # the way, from the post: to the side, along y
_GOES = 0.1  # probability of leaving the start in a step
_RIGHT_OF, _LEFT_OF, _PASSED, _DONE = 1, 2, 3, 4


def reward(world, action):
    """Come to the goal on a way that keeps away from the post; 10 when there."""
    left = np.linalg.norm((world.goal.position - world.hand.position)[..., :2], axis=-1)
    gap = np.linalg.norm((world.post.position - world.hand.position)[..., :2], axis=-1)
    return {
        "closer": 1.0 - np.tanh(4.0 * left),
        "clear": -5.0 * np.clip(0.11 - gap, 0.0, None) / 0.11,
        "there": np.where(left < 0.04, 10.0, 0.0),
    }


class GoAround(MetaWorldTask):
    """The hand shall come to the place behind the post; nearer to the post than 10 cm ends the episode.

    The scene is that of Meta-World's reach with a post in the hand's way. The arguments are those of `MetaWorldTask`.
    """

    name, env_id, moved_body = "go_around", "reach-v3", "post"
    objects = (("post.position", None),)
    quantities = {
        **hand_quantities(),
        Quantity(
            "post.position", (3,), "m", "world", "centre of the post, upright, 6 cm wide; keep 10 cm away"
        ): Parameter("post.position"),
        **goal_quantity("where the hand shall be: 15 cm behind the post, at the height of the start"),
    }

    def spec(self) -> mujoco.MjSpec:
        """Meta-World's scene with a post that has no contacts: nearness is what counts."""
        spec = mujoco.MjSpec.from_file(self.benchmark.model_name)
        post = spec.worldbody.add_body(name="post", mocap=True)
        post.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[_POST_RADIUS_M, _POST_HALF_HEIGHT_M, 0.0],
            rgba=[0.8, 0.1, 0.1, 1.0],
            contype=0,
            conaffinity=0,
        )
        return self.prepared(spec)

    def layout(self, draw: np.ndarray) -> Layout:
        """The post between the hand and the goal, its place drawn anew from the benchmark's numbers in [0, 1]."""
        space = self.benchmark._random_reset_space
        share = ((draw - space.low) / np.maximum(space.high - space.low, 1e-9))[:, :2]
        post = np.full((len(draw), 3), _POST_HALF_HEIGHT_M)
        post[:, :2] = _POST_LOW_M + share * (_POST_HIGH_M - _POST_LOW_M)
        goal = post + np.array([0.0, _BEHIND_M, 0.0])
        goal[:, 2] = self.benchmark.hand_init_pos[2]
        puck = np.tile(_PUCK_M, (len(draw), 1))
        return Layout(goal=goal, body=post, joints={"objjoint": puck}, parameters={"post.position": post})

    def success(self, world: World) -> np.ndarray:
        """The hand is within 4 cm of the goal, in the plane."""
        return _plane(world.goal.position - world.hand.position) < NEAR_M

    def terminated(self, world: World) -> np.ndarray:
        """The hand came too near to the post."""
        return _plane(world.post.position - world.hand.position) < KEEP_OUT_M

    def phase(self, world: World) -> np.ndarray:
        """0 in front of the post, 1 to its right, 2 to its left, 3 past it, 4 at the goal."""
        off = world.hand.position - world.post.position
        side = np.where(off[..., 0] > 0.05, _RIGHT_OF, np.where(off[..., 0] < -0.05, _LEFT_OF, 0))
        return np.where(self.success(world), _DONE, np.where(off[..., 1] > 0.06, _PASSED, side))

    @property
    def phases(self) -> Sequence[Sequence[str]]:
        """Where the hand is and what follows from it."""
        return (
            ("The post is in my way: I go to one side.", "I leave the line to the post."),
            ("I pass the post on the right.", "I am on the right: I go on there."),
            ("I pass the post on the left.", "I am on the left: I go on there."),
            ("The post is behind me: I go to the goal.", "I am past it and turn in."),
            ("Done, I hold still.",),
        )

    def expert(self, n: int) -> GoesAround:  # type: ignore[override]
        """Right and left in turn."""
        return GoesAround(n)


class GoesAround:
    """Environment 0 passes on the right, 1 on the left, and so on: equal shares of any even number of episodes.

    It stands for a number of steps of geometric distribution first, ten on average: how long it has stood says nothing
    of how long it still will.

    Args:
        n: number of environments.
    """

    def __init__(self, n: int) -> None:
        self.side = np.where(np.arange(n) % 2, -1.0, 1.0)
        self._rng = np.random.Generator(np.random.PCG64(0))
        self._stands = np.zeros(n, dtype=int)

    def reset(self, rows: np.ndarray) -> None:
        """Another time of standing."""
        self._stands[rows] = self._rng.geometric(_GOES, len(rows)) - 1

    def act(self, world: World) -> np.ndarray:
        """Beside the post, past it, to the goal: actions `(n, 4)` in [-1, 1]."""
        hand, post = world.quantity("hand.position"), world.quantity("post.position")
        off = hand - post
        corners = post[:, None, :2] + _BESIDE_M * np.stack([self.side, np.ones_like(self.side)], -1)[:, None]
        before = off[:, 1] < _BESIDE_M[0, 1] - 0.01
        beside = ~before & (off[:, 1] < _BESIDE_M[1, 1] - 0.01)
        target = np.where(before[:, None], corners[:, 0], corners[:, 1])
        target = np.where((before | beside)[:, None], target, world.quantity("goal.position")[:, :2])
        way = np.zeros((len(hand), 4))
        way[:, :2] = target - hand[:, :2]
        way[:, 2] = world.quantity("goal.position")[:, 2] - hand[:, 2]
        length = np.linalg.norm(way, axis=-1, keepdims=True)
        stands = self._stands > 0
        self._stands = np.maximum(self._stands - 1, 0)
        return np.where(stands[:, None], 0.0, np.clip(way / np.maximum(length, 0.02), -1.0, 1.0))


def _plane(offset: np.ndarray) -> np.ndarray:
    return np.linalg.norm(offset[..., :2], axis=-1)
