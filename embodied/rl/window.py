"""A live window on a policy: MuJoCo's own viewer, at real speed."""

from __future__ import annotations

import time
import warnings
from typing import Any

import mujoco
import numpy as np

from embodied.core.errors import RenderingError
from embodied.sim.actors import Actor
from embodied.sim.batch_env import BatchEnv
from embodied.sim.task import Task


def show(task: Task, actor: Actor, *, seed: int, episodes: int) -> None:
    """Plays episodes in a window until it is closed.

    Raises:
        RenderingError: there is no display.
    """
    env = BatchEnv(task, n_envs=1, seed=seed)
    try:
        observation = env.reset()
        env.engine.edit(0, "body_mass", slice(None), task.model.body_mass)  # gives the row a model of its own
        model = env.engine.model_of(0)
        data = mujoco.MjData(model)
        with _viewer(model, data) as window:
            deadline = time.monotonic()
            for _ in range(episodes * task.episode_steps):
                if not window.is_running():
                    break
                observation = env.step(actor(observation, env.world)).observation
                state = np.ascontiguousarray(env.engine.states[0])
                mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
                mujoco.mj_setState(model, data, env.engine.control[0], task.control_spec)
                mujoco.mj_forward(model, data)
                window.sync()
                deadline += task.control_dt_s
                time.sleep(max(0.0, deadline - time.monotonic()))
    finally:
        env.close()


def _viewer(model: mujoco.MjModel, data: mujoco.MjData) -> Any:
    """The opened window. Whether there is a display is asked first: the viewer's own thread only dies without one."""
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            import glfw

            if not glfw.init():
                raise RuntimeError(str(found[-1].message) if found else "no display")
        from mujoco import viewer

        return viewer.launch_passive(model, data)
    except Exception as error:
        raise RenderingError(f"no window can be opened here ({error}). Write a film instead: window=false") from None
