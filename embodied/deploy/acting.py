"""Which policy acts, and what it must be shown: the one place where a deployment tells kinds of policies apart."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.build import build
from embodied.core.camera import Camera
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


def pictures_of(policy: Any) -> dict[str, tuple[int, ...]]:
    """Cameras that a policy sees through, and the shape of their pictures `(H, W, 3)`."""
    keys = [key for key in policy.features if key.startswith(IMAGES_PREFIX)]
    return {key.removeprefix(IMAGES_PREFIX): tuple(policy.features[key]) for key in keys}


def make_bridge(
    task: Task, joints: Sequence[str], policy: Any, cameras: Mapping[str, Mapping[str, Any]] | None = None
) -> TaskBridge:
    """Between the task and a robot, showing what this policy needs.

    Args:
        task: gives cameras, actions and success.
        joints: of the robot, in its order.
        policy: what acts.
        cameras: configurations of the robot's cameras by name; None draws what they would see.

    Raises:
        ConfigError: the robot cannot observe it; names the feature.
    """
    shapes = pictures_of(policy)
    if shapes:
        from embodied.policies.trial import check_fit

        check_fit(task, policy)
        if cameras is not None:
            return CameraBridge(task, joints, shapes, {name: build(camera) for name, camera in cameras.items()})
        return DrawnBridge(task, joints, tuple(shapes), *next(iter(shapes.values()))[:2])
    if policy.observation != tuple(task.observation):
        raise ConfigError(
            f"the policy observes {', '.join(policy.observation)}; its task gives {', '.join(task.observation)}"
        )
    return TaskBridge(task, joints)


class SeeingBridge(TaskBridge):
    """For policies that see: pictures and the robot's own state, under LeRobot's keys."""

    @property
    def observed(self) -> Sequence[str]:
        """The quantities that the robot itself senses."""
        return self.task.proprioception

    def observe(self, world: World) -> dict[str, np.ndarray]:
        """Pictures and the robot's own state."""
        from embodied.sim.cameras import state

        return {**self.pictures(), STATE_KEY: state(self.task, world)[0].astype(np.float32)}

    def pictures(self) -> dict[str, np.ndarray]:
        """Pictures `(H, W, 3)` uint8 by `observation.images.<camera>`."""
        raise NotImplementedError


class DrawnBridge(SeeingBridge):
    """The cameras of the task's own model, posed as the robot's joints are.

    What is seen is what the joints and the episode's parameters tell: the arm, and a goal that is a place. Things that
    move by themselves are not in these pictures.

    Args:
        task: gives cameras, actions and success.
        joints: of the robot, in its order.
        names: of cameras.
        height: of the pictures [pixels].
        width: of the pictures [pixels].
    """

    def __init__(self, task: Task, joints: Sequence[str], names: Sequence[str], height: int, width: int) -> None:
        from embodied.sim.cameras import Cameras

        super().__init__(task, joints)
        self._check_scene()
        self._cameras = Cameras(task, names, height, width)

    def pictures(self) -> dict[str, np.ndarray]:
        """Pictures of the last world that was asked for."""
        return self._cameras.look(self._seen[0], {name: value[0] for name, value in self._parameters.items()})

    def __exit__(self, *raised: object) -> None:
        self._cameras.close()

    def _check_scene(self) -> None:
        model = self.task.model
        own = set(self._q.tolist())
        loose = [model.joint(i).name for i in range(model.njnt) if 1 + int(model.jnt_qposadr[i]) not in own]
        if loose:
            raise ConfigError(
                f"task '{self.task.name}': {', '.join(loose)} move by themselves; a camera drawn from the joints cannot"
                " see them. Deploy a task without loose things, or one with a camera of its own"
            )


class CameraBridge(SeeingBridge):
    """The robot's own cameras. As a context manager it opens and closes them.

    Args:
        task: gives actions and success.
        joints: of the robot, in its order.
        shapes: of the pictures that the policy takes `(H, W, 3)`, by camera.
        cameras: not connected, by name.

    Raises:
        ConfigError: a camera is missing.
    """

    def __init__(
        self,
        task: Task,
        joints: Sequence[str],
        shapes: Mapping[str, Sequence[int]],
        cameras: Mapping[str, Camera],
    ) -> None:
        super().__init__(task, joints)
        missing = [name for name in shapes if name not in cameras]
        if missing:
            raise ConfigError(
                f"the policy sees through {', '.join(shapes)}; there is no camera {', '.join(missing)}: give"
                f" cameras={{{', '.join(f'{name}: <device or address>' for name in missing)}}}"
            )
        self._cameras, self._shapes = {name: cameras[name] for name in shapes}, shapes

    def pictures(self) -> dict[str, np.ndarray]:
        """The newest pictures, cut and shrunk to what the policy takes.

        Raises:
            CameraError: one of them is gone, or its picture too old.
        """
        return {
            f"{IMAGES_PREFIX}{name}": fitted(camera.read().picture, *self._shapes[name][:2])
            for name, camera in self._cameras.items()
        }

    def __enter__(self) -> CameraBridge:
        try:
            for camera in self._cameras.values():
                camera.connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        for camera in self._cameras.values():
            camera.disconnect()


def fitted(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of a picture `(H, W, 3)` uint8 in the wanted proportions, at the wanted size."""
    from PIL import Image

    h, w = picture.shape[:2]
    if (h, w) == (height, width):
        return picture
    share = min(h / height, w / width)
    cut_h, cut_w = round(height * share), round(width * share)
    top, left = (h - cut_h) // 2, (w - cut_w) // 2
    middle = Image.fromarray(np.ascontiguousarray(picture[top : top + cut_h, left : left + cut_w]))
    return np.asarray(middle.resize((width, height), Image.Resampling.BOX))
