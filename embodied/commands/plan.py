"""`embodied plan`: a reward program drives the robot by sampling MPC, without any training."""

from __future__ import annotations

import json
from pathlib import Path

HELP = """embodied plan [task=<name>] [reward=<writer>] [planner=<name>] [key=value ...]

Writes or takes a reward program, checks it, and lets a sampling planner follow it on fresh episodes: the program runs
in a locked process, success is measured outside of it. Ends with the success rate, the planner's rate and a film.

  task=<name>            see: embodied list tasks
  reward=<name>          expert, text2reward, language_to_rewards, library, file, ...
  planner=<name>         predictive_sampling, cem, mppi
  record=true            keeps the episodes, for trainer=sac demonstrations=[<run>/episodes/000]
  planning.n_samples=32  planning.horizon_s=0.36  planning.n_knots=3  replan_every=1  episodes=5

examples:
  embodied plan task=quadruped/lift_paw
  embodied plan task=open_drawer reward=text2reward planner=cem
"""


def run(arguments: list[str]) -> int:
    """Runs the command."""
    from embodied.commands.compose import run_composed

    return run_composed("plan", arguments, execute)


def execute(composed, finished=None) -> int:
    """Runs one composed configuration; `finished` is told the result row."""
    from embodied.core.errors import EmbodiedError
    from embodied.core.runs import RunFolder
    from embodied.rl.writing import Writing, make_task

    config = dict(composed.config)
    task = make_task(config["task"], composed.trusted_packages)  # a bad task must not leave a run folder
    folder = RunFolder.create(Path(config["runs_dir"]), config["name"] or f"plan-{task.name.replace('/', '-')}")
    folder.start(composed.yaml, composed.overrides, {"seed": config["seed"]})
    folder.lock()
    writing = Writing(config, folder, print, composed.trusted_packages, composed.searchpath)
    try:
        row = _plan(writing, config, folder, composed)
    except EmbodiedError:
        folder.discard_unbegun()
        raise
    if finished is not None:
        finished(row)
    print(json.dumps(row))
    return 0


def _plan(writing, config: dict, folder, composed) -> dict:
    from embodied.control.locked import LockedPlanner
    from embodied.control.recording import planned_episode
    from embodied.control.trial import try_planner

    program, _ = writing.program()
    print(f"reward by {program.writer}: accepted, {program.evaluation}; planning {config['episodes']} episodes")
    if program.evaluation != "batched":
        print("warning: this program runs row by row, which makes plans about a hundred times slower")
    planner = LockedPlanner(
        writing.task,
        writing.task_config,
        program,
        config["planner"],
        config["planning"],
        trusted_packages=composed.trusted_packages,
        import_paths=composed.searchpath,
        allow_missing=config["allow_missing_sandbox_layers"],
    )
    film: list = []
    steps: list = []

    def on_step(episode: int, moment) -> None:
        steps.append(moment)
        if episode == 0:
            film.append(moment)

    def on_end(episode: int, end) -> None:
        if config["record"]:
            recorded = planned_episode(writing.task, writing.task_config, program, steps, end)
            recorded.save(folder / "episodes" / f"{episode:03d}")
        steps.clear()

    try:
        planner.start()
        trial = try_planner(
            planner,
            episodes=int(config["episodes"]),
            seed=int(config["seed"]),
            replan_every=int(config["replan_every"]),
            on_step=on_step,
            on_end=on_end,
        )
    finally:
        planner.close()
    row = {"task": writing.task.name, "instruction": writing.task.instruction, **trial.to_json()}
    row |= {"reward": {"writer": program.writer, "sha256": program.sha256}, "planner": config["planner"]["_target_"]}
    print(
        f"success {row['rate']:.0%} [{row['low']:.0%}, {row['high']:.0%}] over {row['episodes']} episodes;"
        f" {row['ms_per_plan']:.1f} ms a plan, {row['simulated_over_planning_time']:.2f} x real time"
    )
    print(_film(writing.task, film, config["video"], folder))
    folder.finish(row)
    print(f"result:  {folder / 'result.json'}")
    return row


def _film(task, moments: list, video: dict, folder) -> str:
    """Draws the first episode; says where it lies, or why there is none."""
    import copy

    import numpy as np

    from embodied.core.errors import RenderingError
    from embodied.core.files import write_bytes
    from embodied.sim.engine import BatchEngine
    from embodied.sim.render import encode_mp4, render_episode

    if not moments or not video["seconds"]:
        return "film:    none"
    moments = moments[: max(1, round(video["seconds"] / task.control_dt_s))]
    begin = moments[0].start
    model = copy.copy(task.model)
    if begin.edits:
        engine = BatchEngine(task.model, n_envs=1, n_substeps=1)
        for edit in begin.edits:
            engine.edit(0, edit.field, edit.index, edit.values[0])
        engine.settle()
        model = engine.model_of(0)
    every = max(1, round(1.0 / (25 * task.control_dt_s)))
    try:
        frames = render_episode(
            task,
            np.concatenate([m.start.states for m in moments]),
            parameters={k: v[0] for k, v in begin.parameters.items()},
            model=model,
            controls=np.concatenate([m.start.control for m in moments]),
            camera=video["camera"],
            width=int(video["width"]),
            height=int(video["height"]),
            every=every,
        )
    except RenderingError as error:
        return f"film:    none ({error})"
    path = folder / "videos" / "plan.mp4"
    write_bytes(path, encode_mp4(frames, 1.0 / (every * task.control_dt_s)))
    return f"film:    {path}"
