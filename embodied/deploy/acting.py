"""Which policy acts, and what it must be shown: the one place where a deployment tells kinds of policies apart."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.errors import CheckpointError, ConfigError
from embodied.core.files import read_json
from embodied.core.policy import IMAGES_PREFIX, STATE_KEY
from embodied.core.world import World
from embodied.deploy.translate import TaskBridge
from embodied.sim.task import Task


def is_address(policy: str) -> bool:
    """Whether a policy is named by its server's address."""
    return policy.startswith(("ws://", "wss://"))


def load_policy(place: str | Path, trusted_packages: Sequence[str] = (), *, token_env: str = "") -> Any:
    """A policy of `embodied train` or of `embodied fit`, by what its manifest says, or that of `embodied serve`.

    Args:
        place: a policy folder, or an address such as `ws://127.0.0.1:8000`.
        trusted_packages: whose code `_target_` may name.
        token_env: name of the variable that holds the server's token.

    Raises:
        CheckpointError: no policy, or damaged.
        PolicyServerError: nobody answers at the address.
    """
    if is_address(str(place)):
        from embodied.deploy.policy_client import PolicyClient

        return PolicyClient(str(place), token=os.environ.get(token_env) or None)
    folder = Path(place)
    try:
        manifest = read_json(folder / "manifest.json")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"no policy in {folder}: {error}") from None
    if isinstance(manifest, dict) and str(manifest.get("format")).startswith("embodied.vla_policy/"):
        from embodied.policies.vla_policy import VLAPolicy

        return VLAPolicy.load(folder, trusted_packages=trusted_packages)
    from embodied.rl.policy import MLPPolicy

    return MLPPolicy.load(folder)


def make_bridge(task: Task, joints: Sequence[str], policy: Any) -> TaskBridge:
    """Between the task and a robot, showing what this policy needs.

    Raises:
        ConfigError: the robot cannot observe it; names the feature.
    """
    if any(key.startswith(IMAGES_PREFIX) for key in policy.features):
        return CameraBridge(task, joints, policy)
    if policy.observation != tuple(task.observation):
        raise ConfigError(
            f"the policy observes {', '.join(policy.observation)}; its task gives {', '.join(task.observation)}"
        )
    return TaskBridge(task, joints)


class CameraBridge(TaskBridge):
    """For policies that see: the cameras of the task's own model, posed as the robot's joints are.

    What is seen is what the joints and the episode's parameters tell: the arm, and a goal that is a place. Things that
    move by themselves are not in these pictures.

    Args:
        task: gives cameras, actions and success.
        joints: of the robot, in its order.
        policy: a fitted policy with pictures among its features, here or at its server.
    """

    def __init__(self, task: Task, joints: Sequence[str], policy: Any) -> None:
        from embodied.policies.trial import check_fit
        from embodied.sim.cameras import Cameras

        names = check_fit(task, policy)
        super().__init__(task, joints)
        self._check_scene()
        self._cameras = Cameras(task, names, *next(policy.features[f"{IMAGES_PREFIX}{name}"] for name in names)[:2])

    @property
    def observed(self) -> Sequence[str]:
        """The quantities that the robot itself senses."""
        return self.task.proprioception

    def observe(self, world: World) -> dict[str, np.ndarray]:
        """Pictures and the robot's own state."""
        from embodied.sim.cameras import state

        parameters = {name: value[0] for name, value in self._parameters.items()}
        pictures = self._cameras.look(self._seen[0], parameters)
        return {**pictures, STATE_KEY: state(self.task, world)[0].astype(np.float32)}

    def _check_scene(self) -> None:
        model = self.task.model
        own = set(self._q.tolist())
        loose = [model.joint(i).name for i in range(model.njnt) if 1 + int(model.jnt_qposadr[i]) not in own]
        if loose:
            raise ConfigError(
                f"task '{self.task.name}': {', '.join(loose)} move by themselves; a camera drawn from the joints cannot"
                " see them. Deploy a task without loose things, or one with a camera of its own"
            )
