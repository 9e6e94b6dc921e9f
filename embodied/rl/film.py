"""Films of a policy: a few fresh episodes in a row, played and then drawn."""

from __future__ import annotations

import copy

import numpy as np

from embodied.sim.actors import Actor
from embodied.sim.batch_env import BatchEnv
from embodied.sim.randomization import Randomization
from embodied.sim.render import encode_mp4, render_episode
from embodied.sim.task import Task


def film(
    task: Task,
    actor: Actor,
    *,
    episodes: int,
    seed: int,
    camera: str | None = None,
    width: int = 320,
    height: int = 240,
    fps: int = 25,
    max_seconds: float = 30.0,
    randomization: Randomization | None = None,
) -> bytes:
    """Plays episodes one after the other and gives an mp4 at real speed.

    Args:
        task: the task.
        actor: `(observation (1, D), world) -> action (1, A)`.
        episodes: how many.
        seed: root seed of the starts.
        camera: camera name, or None for the best of the model.
        width: picture width [pixels].
        height: picture height [pixels].
        fps: pictures per second.
        max_seconds: the film is cut here.
        randomization: domain randomisation, or None.

    Raises:
        RenderingError: no OpenGL here.
    """
    every = max(1, round(1.0 / (fps * task.control_dt_s)))
    rate = 1.0 / (every * task.control_dt_s)
    frames: list[np.ndarray] = []
    env = BatchEnv(task, n_envs=1, seed=seed, randomization=randomization)
    try:
        observation = env.reset()
        for _ in range(episodes):
            parameters = {k: v[0].copy() for k, v in env.start_of(0).parameters.items()}
            model, linger = copy.copy(env.engine.model_of(0)), None
            states, controls = [env.engine.states[0]], [env.engine.control[0]]
            for index in range(task.episode_steps):
                step = env.step(actor(observation, env.world))
                observation = step.observation
                if step.terminated[0] or step.truncated[0]:
                    break
                states.append(env.engine.states[0])
                controls.append(env.engine.control[0])
                if step.success[0] and linger is None:
                    linger = index + round(0.6 / task.control_dt_s)
                if linger is not None and index >= linger:
                    observation = env.reset()
                    break
            frames += render_episode(
                task,
                np.array(states),
                parameters=parameters,
                model=model,
                controls=np.array(controls),
                camera=camera,
                width=width,
                height=height,
                every=every,
            )
            if len(frames) > max_seconds * rate:
                break
    finally:
        env.close()
    return encode_mp4(frames[: int(max_seconds * rate)], rate)
