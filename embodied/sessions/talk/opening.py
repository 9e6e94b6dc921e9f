"""Wires a talk from plain configuration: robot, writer, planners, session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from embodied.control.locked import LockedPlanner
from embodied.core.reward import RewardProgram
from embodied.core.runs import RunFolder
from embodied.core.writer import Check
from embodied.rl.writing import Writing
from embodied.sessions.talk.pool import PlannerPool
from embodied.sessions.talk.session import TalkSession
from embodied.sessions.talk.stage import Stage
from embodied.sim.engine import BatchEngine
from embodied.sim.render import encode_mp4, render_episode

FILM_FPS = 25


@dataclass
class Opened:
    """The parts of a talk; whoever opened it gives it a body and closes pool and stage."""

    session: TalkSession
    stage: Stage
    pool: PlannerPool


def open_talk(
    config: Mapping[str, Any],
    folder: RunFolder,
    say: Callable[[str], None],
    *,
    trusted_packages: tuple[str, ...] = (),
    import_paths: tuple[str, ...] = (),
) -> Opened:
    """Opens a talk in a run folder, new or old (main thread only: it starts processes).

    Args:
        config: of `conf/talk.yaml`, plain values.
        folder: its run folder.
        say: told what happens in one sentence.
        trusted_packages: packages that the user named on the command line.
        import_paths: folders where these packages lie.

    Raises:
        CheckpointError: the state of an earlier talk cannot be read.
    """
    robot = config["robot"]
    task_config = config["task"] or robot["task"]
    writing = Writing({**config, "task": task_config}, folder, say, trusted_packages, import_paths)
    writing.tools.check = partial(_check, writing)
    missing = config["allow_missing_sandbox_layers"]
    make = partial(
        LockedPlanner,
        writing.task,
        task_config,
        None,
        robot["planner"],
        robot["planning"],
        trusted_packages=trusted_packages,
        import_paths=import_paths,
        allow_missing=missing,
    )
    pool = PlannerPool(make)
    pool.fill()
    stage = Stage(writing.task, task_config, int(config["seed"]))
    session = TalkSession(
        folder,
        stage,
        writing.task.description(),
        writing.writer,
        int(config["seed"]),
        partial(
            film, camera=config["camera"]["name"], width=config["camera"]["width"], height=config["camera"]["height"]
        ),
    )
    session.restore()
    return Opened(session, stage, pool)


def _check(writing: Writing, program: RewardProgram) -> Check:
    """Programs of our own templates are batched by construction and move at once; others are tried first."""
    return Check("accepted", evaluation="batched") if program.evaluation == "batched" else writing.check(program)


def film(stage: Stage, last_s: float, *, camera: str | None, width: int, height: int) -> bytes:
    """The last seconds of a stage as mp4.

    Raises:
        RenderingError: nothing can be drawn here.
    """
    episode = stage.seen(last_s)
    every = max(1, round(1.0 / (FILM_FPS * episode.control_dt_s)))
    frames = render_episode(
        stage.task,
        episode.states,
        parameters=episode.parameters,
        model=_model(stage, episode.edits),
        controls=episode.controls,
        camera=camera,
        width=int(width),
        height=int(height),
        every=every,
    )
    return encode_mp4([np.asarray(frame) for frame in frames], 1.0 / (every * episode.control_dt_s))


def _model(stage: Stage, edits: Any) -> Any:
    if not edits:
        return None
    engine = BatchEngine(stage.task.model, n_envs=1, n_substeps=1)
    for edit in edits:
        engine.edit(0, edit.field, edit.index, edit.values[0])
    engine.settle()
    return engine.model_of(0)
