"""What a robot senses in simulation under LeRobot's keys: its cameras' pictures and its own state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType

import mujoco
import numpy as np

from embodied.core.errors import ConfigError, UnknownNameError
from embodied.core.policy import IMAGES_PREFIX, STATE_KEY
from embodied.core.world import World, peek
from embodied.sim.batch_env import BatchEnv
from embodied.sim.render import Renderer
from embodied.sim.task import Start, Task


def state_size(task: Task) -> int:
    """Length S of `observation.state`.

    Raises:
        ConfigError: the task does not say what its robot senses.
    """
    if not task.proprioception:
        raise ConfigError(
            f"task '{task.name}' names no proprioception: give its class the quantities that the robot itself senses"
        )
    return sum(int(np.prod(task.schema[path].shape)) for path in task.proprioception)


def state(task: Task, world: World) -> np.ndarray:
    """`observation.state (..., S)`: the quantities in `task.proprioception`, in order."""
    batch = world.batch_shape
    return np.concatenate([peek(world, p).reshape(*batch, -1) for p in task.proprioception], axis=-1)


def check_cameras(task: Task, names: Sequence[str]) -> None:
    """Raises UnknownNameError for a camera that the task's model lacks; needs no OpenGL."""
    known = [name for i in range(task.model.ncam) if (name := task.model.camera(i).name)]
    for name in names:
        if name not in known:
            raise UnknownNameError("camera", name, known, f"task {task.name}")


class Cameras:
    """Cameras of one task, all of one size. Use it as a context manager, or call `close`.

    Two `Cameras` of different tasks must not be alive at once in one thread: closing the first would delete what the
    second draws with.

    Args:
        task: the task.
        names: of cameras of its model.
        height: picture height [pixels].
        width: picture width [pixels].
    """

    def __init__(self, task: Task, names: Sequence[str], height: int, width: int) -> None:
        if not names:
            raise ConfigError("name at least one camera")
        self.task, self.names, self.shape = task, tuple(names), (height, width, 3)
        self._renderer = Renderer(task, self.names[0], width, height, markers=False)

    def look(
        self,
        state: np.ndarray,
        parameters: Mapping[str, np.ndarray],
        model: mujoco.MjModel | None = None,
        control: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Pictures `(H, W, 3)` uint8 by `observation.images.<camera>`; arguments as in `Renderer.render`."""
        return {
            f"{IMAGES_PREFIX}{name}": self._renderer.render(state, parameters, model, name, control)
            for name in self.names
        }

    def look_at(self, env: BatchEnv, row: int) -> dict[str, np.ndarray]:
        """Pictures of the present state of one environment."""
        start: Start = env.start_of(row)
        parameters = {k: v[0] for k, v in start.parameters.items()}
        control = env.engine.control[row]
        return self.look(start.states[0], parameters, env.engine.model_of(row), control)

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._renderer.close()

    def __enter__(self) -> Cameras:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def observe(task: Task, env: BatchEnv, cameras: Cameras, rows: Sequence[int]) -> dict[str, np.ndarray]:
    """What a camera policy needs of the environments `rows`, stacked on the first axis."""
    seen = [cameras.look_at(env, int(row)) for row in rows]
    pictures = {key: np.stack([s[key] for s in seen]) for key in seen[0]}
    return {**pictures, STATE_KEY: state(task, env.world)[np.asarray(rows)].astype(np.float32)}
