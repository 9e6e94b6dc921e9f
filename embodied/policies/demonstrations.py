"""Demonstrations: an expert acts in simulation, and what the robot saw, did and said becomes a dataset.

Episodes are played first, on states alone and side by side; only those that are kept are drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from embodied.core.errors import ConfigError
from embodied.core.policy import IMAGES_PREFIX, STATE_KEY
from embodied.core.world import World
from embodied.data.episode import Episode
from embodied.data.layout import ACTION, Feature
from embodied.data.writer import DatasetWriter
from embodied.sim.actors import Actor
from embodied.sim.batch_env import BatchEnv
from embodied.sim.cameras import Cameras, check_cameras, state, state_size
from embodied.sim.replay import worlds_of
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


def planned(task: Task, episode: Episode, linger_steps: int = 10) -> Played:
    """A recorded episode, such as a planner's (`embodied plan record=true`), as a demonstration.

    Args:
        task: of the episode.
        episode: as it was recorded; what was executed is what was right.
        linger_steps: steps kept after the first success.

    Raises:
        ConfigError: it is of another task, or of a changed model.
    """
    if episode.task != task.name or episode.actions.shape[1:] != (task.action_size,):
        raise ConfigError(f"an episode of '{episode.task}' cannot demonstrate '{task.name}'")
    if episode.edits:
        raise ConfigError("an episode of a randomised model cannot be demonstrated: plan without randomization")
    after = worlds_of(task, episode.states, episode.controls, episode.parameters, episode.t0_s)
    success, before = _successes(task, after), after.previous
    end = min(int(np.argmax(success)) + 1 + linger_steps, len(success)) if success.any() else len(success)
    actions = np.clip(episode.actions, -1.0, 1.0)
    frames = {STATE_KEY: state(task, before), ACTION: actions, EXECUTED: actions, SUCCESS: success}
    quantities = {}
    for path in task.schema.quantities:
        first, rest = before.quantity(path)[:1], after.quantity(path)
        quantities[path] = np.concatenate([first, rest])[: end + 1]
    return Played(
        frames={key: value[:end] for key, value in frames.items()},
        phases=task.phase(before)[:end],
        states=episode.states[:end],
        controls=episode.controls[:end],
        world=quantities,
        parameters=dict(episode.parameters),
        model=task.model,
        success=bool(success.any()),
    )


def _successes(task: Task, after: World) -> np.ndarray:
    judge = task.judge(1)
    if judge is None:
        return np.asarray(task.success(after), dtype=bool)
    judge.reset(np.arange(1))
    return np.array([judge.update(after.rows(slice(t, t + 1)))[0] for t in range(after.batch_shape[0])])


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


def attempts(
    task: Task,
    actor_of: Callable[[int], Actor],
    *,
    seed: int,
    noise: Sequence[float] = (0.0,),
    at_once: int = 10,
) -> Iterator[Played]:
    """Episodes without end, played when they are asked for.

    Args:
        task: the task.
        actor_of: makes the expert for n episodes side by side.
        seed: of starts and noise.
        noise: as in `play`.
        at_once: episodes played side by side.
    """
    for tried in itertools.count(0, at_once):
        stream = int(np.random.SeedSequence([seed, tried]).generate_state(1)[0])
        yield from play(task, actor_of(at_once), episodes=at_once, seed=stream, noise=noise)


def record(
    task: Task,
    source: Iterable[Played],
    writer: DatasetWriter,
    *,
    episodes: int,
    seed: int,
    cameras: Cameras,
    keep_failures: bool = False,
    progress: Callable[[int], None] | None = None,
) -> tuple[int, int]:
    """Records `episodes` episodes of one task.

    Args:
        task: the task.
        source: of episodes: `attempts`, or `planned` ones.
        writer: of a dataset with the `features` of the task.
        episodes: how many to keep.
        seed: of the wordings.
        cameras: that look.
        keep_failures: keep episodes without success too.
        progress: called with the episodes kept so far.

    Returns:
        Episodes kept, and episodes played.

    Raises:
        ConfigError: the expert fails nine times in ten, or there are too few episodes.
    """
    kept = tried = 0
    for one in source:
        tried += 1
        if one.success or keep_failures:
            _write(task, one, writer, cameras, np.random.default_rng([seed, tried]))
            kept += 1
            if progress is not None:
                progress(kept)
        if kept == episodes:
            return kept, tried
        if tried >= 20 and kept < tried // 10:
            raise ConfigError(
                f"task '{task.name}': the expert succeeded in {kept} of {tried} episodes; it cannot teach"
            )
    raise ConfigError(f"task '{task.name}': {kept} of {tried} episodes can be kept, {episodes} were asked for")


def _write(task: Task, one: Played, writer: DatasetWriter, cameras: Cameras, rng: np.random.Generator) -> None:
    for index, said in enumerate(say(task, one.phases, rng)):
        pictures = cameras.look(one.states[index], one.parameters, one.model, one.controls[index])
        writer.add({**{k: v[index] for k, v in one.frames.items()}, **pictures}, task.instruction, said)
    writer.save_episode(one.world)
