"""Success of a camera policy in simulation: pictures are drawn only when a chunk is asked for."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.errors import ConfigError
from embodied.core.files import write_bytes
from embodied.core.policy import IMAGES_PREFIX, STATE_KEY
from embodied.policies.vla_policy import VLAPolicy
from embodied.sim.batch_env import BatchEnv
from embodied.sim.cameras import Cameras, check_cameras, observe, state_size
from embodied.sim.evaluation import Evaluation
from embodied.sim.render import encode_mp4
from embodied.sim.task import Task


@dataclass
class Film:
    """One episode as it was seen: a picture `(H, W, 3)` and what was said, per control step."""

    pictures: list[np.ndarray] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def check_fit(task: Task, policy: Any) -> list[str]:
    """The cameras of the task that a `VLAPolicy`, or the client of one, needs.

    Raises:
        ConfigError: the task has other sizes or lacks a camera; names it.
    """
    (sensed,) = policy.features[STATE_KEY]
    if policy.action_size != task.action_size or sensed != state_size(task):
        raise ConfigError(
            f"the policy acts with {policy.action_size} numbers on a state of {sensed}; task '{task.name}' has"
            f" {task.action_size} and {state_size(task)}"
        )
    if abs(policy.fps * task.control_dt_s - 1.0) > 1e-6:
        raise ConfigError(f"the policy acts at {policy.fps} Hz, task '{task.name}' at {1 / task.control_dt_s:g} Hz")
    names = [key.removeprefix(IMAGES_PREFIX) for key in policy.features if key.startswith(IMAGES_PREFIX)]
    check_cameras(task, names)
    return names


def try_out(
    task: Task,
    policy: VLAPolicy,
    *,
    episodes: int,
    seed: int,
    instruction: str | None = None,
    episode_steps: int | None = None,
    film: Film | None = None,
    watch: Callable[[BatchEnv], None] | None = None,
) -> Evaluation:
    """Plays fresh episodes side by side.

    Args:
        task: the task.
        policy: acts.
        episodes: how many.
        seed: of the starts.
        instruction: what the policy is told; None takes the task's own.
        episode_steps: actions per episode; None takes the task's.
        film: is filled with the first episode.
        watch: called after every step.
    """
    cameras = check_fit(task, policy)
    height, width = policy.architecture.camera_shape
    said_task = task.instruction if instruction is None else instruction
    env = BatchEnv(task, n_envs=episodes, seed=seed)
    ever, first = np.zeros(episodes, dtype=bool), np.full(episodes, -1)
    at_end, alive = np.zeros(episodes, dtype=bool), np.ones(episodes, dtype=bool)
    steps = min(episode_steps or task.episode_steps, task.episode_steps)
    action = np.zeros((episodes, task.action_size))
    with Cameras(task, cameras, height, width) as eyes:
        try:
            env.reset()
            rows, chunks, words = np.arange(episodes), np.zeros((0,)), [""] * episodes
            for index in range(steps):
                within = index % policy.n_action_steps
                if within == 0:
                    rows = np.flatnonzero(alive)
                    seen = observe(task, env, eyes, rows)
                    thinks = (index // policy.n_action_steps) % policy.think_every == 0
                    before = None if thinks else [words[r] for r in rows]
                    chunks, said = policy.predict(seen, [said_task] * len(rows), before)
                    for row, text in zip(rows, said, strict=True):
                        words[row] = text
                action[rows] = chunks[:, within]
                if film is not None and alive[0]:
                    film.pictures.append(next(iter(eyes.look_at(env, 0).values())))
                    film.said.append(words[0])
                step = env.step(action, autoreset=False)
                if watch is not None:
                    watch(env)
                hit = alive & step.success
                first[hit & ~ever] = index
                ever |= hit
                at_end[alive] = step.success[alive]
                alive &= ~(step.terminated | ever)
                if not alive.any():
                    break
        finally:
            env.close()
    return Evaluation(ever, at_end, first, seed)


def film_mp4(film: Film, path: Path, fps: int, *, height: int = 384, every: int = 2) -> None:
    """Writes a film with what was said as its subtitle, at real speed."""
    from PIL import Image, ImageDraw

    frames = []
    for picture, said in list(zip(film.pictures, film.said, strict=True))[::every]:
        width = round(height * picture.shape[1] / picture.shape[0])
        sheet = Image.new("RGB", (width, height + 48), "black")
        sheet.paste(Image.fromarray(picture).resize((width, height)), (0, 0))
        lines = "\n".join(textwrap.wrap(said, width // 7)[:3])
        ImageDraw.Draw(sheet).text((8, height + 4), lines, fill="white")
        frames.append(np.asarray(sheet))
    write_bytes(path, encode_mp4(frames, fps / every))
