"""Demonstrations: an expert acts in simulation, and what the robot saw, did and said becomes a dataset.

Episodes are played first, on states alone and side by side; only those that are kept are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from embodied.core.errors import ConfigError
from embodied.core.policy import IMAGES_PREFIX, STATE_KEY
from embodied.core.world import World
from embodied.data.layout import ACTION, Feature
from embodied.data.writer import DatasetWriter
from embodied.sim.actors import Actor
from embodied.sim.batch_env import BatchEnv
from embodied.sim.cameras import Cameras, check_cameras, state, state_size
from embodied.sim.task import Task

EXECUTED, SUCCESS = "executed_action", "next.success"


@dataclass(frozen=True)
class Played:
    """One episode of T steps as it was played.

    Attributes:
        frames: by feature without pictures, `(T, ...)`.
        phases: what the robot was at `(T,)`.
        states: physics states `(T, n_state)`; `controls` likewise.
        world: every quantity `(T + 1, ...)`, the last after the last action.
        parameters: of the episode.
        model: of the episode.
        success: whether the task was done.
    """

    frames: dict[str, np.ndarray]
    phases: np.ndarray
    states: np.ndarray
    controls: np.ndarray
    world: dict[str, np.ndarray]
    parameters: dict[str, np.ndarray]
    model: mujoco.MjModel
    success: bool


def features(task: Task, cameras: Sequence[str], height: int, width: int) -> dict[str, Feature]:
    """The features of a task's demonstrations."""
    check_cameras(task, cameras)
    names = [
        f"{path}.{i}" if task.schema[path].shape else path
        for path in task.proprioception
        for i in range(int(np.prod(task.schema[path].shape)))
    ]
    return {
        STATE_KEY: Feature("float32", (state_size(task),), tuple(names)),
        ACTION: Feature("float32", (task.action_size,)),
        EXECUTED: Feature("float32", (task.action_size,)),
        SUCCESS: Feature("bool", (1,)),
        **{f"{IMAGES_PREFIX}{name}": Feature("video", (height, width, 3)) for name in cameras},
    }


def frames_per_second(task: Task) -> int:
    """The task's control rate.

    Raises:
        ConfigError: it is not a whole number, which datasets need.
    """
    rate = 1.0 / task.control_dt_s
    if abs(rate - round(rate)) > 1e-6:
        raise ConfigError(f"task '{task.name}': control_dt_s={task.control_dt_s} is no whole number of frames per s")
    return round(rate)


def play(
    task: Task, actor: Actor, *, episodes: int, seed: int, noise: Sequence[float] = (0.0,), linger_steps: int = 10
) -> list[Played]:
    """Plays episodes side by side.

    Args:
        task: the task.
        actor: says what would be right, `(observation (N, D), world) -> (N, A)`: the recorded action.
        episodes: N.
        seed: of the starts and of the noise.
        noise: standard deviations of normal noise on what is executed; episode i takes the i-th in turn.
        linger_steps: steps after the first success, which show that the robot then holds still.
    """
    env = BatchEnv(task, n_envs=episodes, seed=seed)
    rng = np.random.default_rng([seed, 1])
    scale = np.resize(np.asarray(noise, dtype=float), episodes)[:, None]
    left, length = np.full(episodes, task.episode_steps), np.zeros(episodes, dtype=int)
    success, history = np.zeros(episodes, dtype=bool), []
    try:
        observation = env.reset()
        starts = [env.start_of(row) for row in range(episodes)]
        models = [env.engine.model_of(row) for row in range(episodes)]
        while (left > 0).any():
            world = env.world
            right = np.clip(actor(observation, world), -1.0, 1.0)
            executed = np.clip(right + scale * rng.normal(size=right.shape), -1.0, 1.0)
            moment = _moment(task, env, world)
            step = env.step(executed, autoreset=False)
            moment |= {ACTION: right, EXECUTED: executed, SUCCESS: step.success}
            history.append(moment)
            length += left > 0
            left = np.where(step.success & ~success & (left > 0), linger_steps + 1, left) - 1
            left = np.where(step.terminated, 0, left)
            success |= step.success & (left >= 0)
            observation = step.observation
        history.append(_moment(task, env, env.world))
    finally:
        env.close()
    return [
        _played(history, row, int(length[row]), bool(success[row]), starts[row], models[row]) for row in range(episodes)
    ]


def _moment(task: Task, env: BatchEnv, world: World) -> dict[str, Any]:
    quantities = {path: np.array(world.quantity(path)) for path in task.schema.quantities}
    found = {STATE_KEY: state(task, world), "phases": task.phase(world), "world": quantities}
    return {**found, "states": env.engine.states, "controls": env.engine.control.copy()}


def _played(
    history: Sequence[dict[str, Any]], row: int, length: int, success: bool, start: Any, model: mujoco.MjModel
) -> Played:
    def over_time(key: str) -> np.ndarray:
        return np.stack([moment[key][row] for moment in history[:length]])

    return Played(
        frames={key: over_time(key) for key in (STATE_KEY, ACTION, EXECUTED, SUCCESS)},
        phases=over_time("phases"),
        states=over_time("states"),
        controls=over_time("controls"),
        world={k: np.stack([m["world"][k][row] for m in history[: length + 1]]) for k in history[0]["world"]},
        parameters={k: v[0] for k, v in start.parameters.items()},
        model=model,
        success=success,
    )


def say(task: Task, phases: Sequence[int] | np.ndarray, rng: np.random.Generator) -> list[str]:
    """What the robot says at each step: one wording per phase and episode, chosen by chance."""
    motive = task.instruction.strip().rstrip(".!")
    motive = motive[:1].lower() + motive[1:]
    chosen = [ways[int(rng.integers(len(ways)))].format(motive=motive) for ways in task.phases]
    return [chosen[int(phase)] for phase in phases]


def record(
    task: Task,
    actor_of: Callable[[int], Actor],
    writer: DatasetWriter,
    *,
    episodes: int,
    seed: int,
    cameras: Cameras,
    noise: Sequence[float] = (0.0,),
    keep_failures: bool = False,
    at_once: int = 10,
    progress: Callable[[int], None] | None = None,
) -> tuple[int, int]:
    """Records `episodes` episodes of one task.

    Args:
        task: the task.
        actor_of: makes the expert for n episodes side by side.
        writer: of a dataset with the `features` of the task.
        episodes: how many to keep.
        seed: of starts, noise and wordings.
        cameras: that look.
        noise: as in `play`.
        keep_failures: keep episodes without success too.
        at_once: episodes played side by side.
        progress: called with the episodes kept so far.

    Returns:
        Episodes kept, and episodes played.

    Raises:
        ConfigError: the expert fails nine times in ten.
    """
    kept = tried = 0
    while kept < episodes:
        n = min(at_once, episodes - kept)
        stream = int(np.random.SeedSequence([seed, tried]).generate_state(1)[0])
        for one in play(task, actor_of(n), episodes=n, seed=stream, noise=noise):
            tried += 1
            if not (one.success or keep_failures):
                continue
            _write(task, one, writer, cameras, np.random.default_rng([seed, tried]))
            kept += 1
            if progress is not None:
                progress(kept)
        if tried >= 20 and kept < tried // 10:
            raise ConfigError(
                f"task '{task.name}': the expert succeeded in {kept} of {tried} episodes; it cannot teach"
            )
    return kept, tried


def _write(task: Task, one: Played, writer: DatasetWriter, cameras: Cameras, rng: np.random.Generator) -> None:
    for index, said in enumerate(say(task, one.phases, rng)):
        pictures = cameras.look(one.states[index], one.parameters, one.model, one.controls[index])
        writer.add({**{k: v[index] for k, v in one.frames.items()}, **pictures}, task.instruction, said)
    writer.save_episode(one.world)
