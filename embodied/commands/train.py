"""`embodied train`: from a sentence to a trained policy and a report."""

from __future__ import annotations

from pathlib import Path

HELP = """embodied train [key=value ...]

A language model writes a reward for the instruction; the program is checked, tried under a lock and screened; a
policy is trained with it, and the report compares it with the expert reward at the same budget.

  task=<name>            see: embodied list tasks
  instruction="..."      the sentence; the task's own by default
  reward=<name>          text2reward, text2reward_few_shot, library, expert, file
  llm=<name>             replay (recorded answers), openai, local, manual
  safety=<name>          train under the clamps of a robot's envelope; see conf/safety/
  trainer=ppo|sac        settings: trainer.total_steps=..., trainer.settings.gamma=...
  feedback="..." parent=<run folder>
                         a better program for what you saw (observed="...") and want changed
  resume=<run folder>    go on with an interrupted run
  -m                     sweep: embodied train -m seed=0,1,2

examples:
  embodied train task=reach
  embodied train task=push_cube instruction="Push the cube onto the mark." llm=openai llm.model=gpt-4o
  embodied train task=open_drawer reward=library
  embodied train task=reach parent=runs/<day>/<run> observed="It circles the goal." feedback="It shall stop there."
"""
RESUMABLE = ("evaluation", "n_threads", "checkpoint_every_steps", "video")


def run(arguments: list[str]) -> int:
    """Runs the command."""
    from embodied.commands.compose import run_composed

    return run_composed("train", arguments, execute)


def execute(composed, started=None) -> int:
    """Runs one composed configuration; `started` is told the run folder's path."""
    from embodied.core.errors import EmbodiedError
    from embodied.core.runs import RunFolder

    config = dict(composed.config)
    resumed = bool(config["resume"])
    if resumed:
        from embodied.commands.compose import change_run_config, load_run_config

        folder = RunFolder.open(Path(config["resume"]))
        given = [o for o in composed.overrides if not o.startswith("resume=")]
        config = change_run_config(load_run_config(folder.path), given, RESUMABLE)
        if folder.result is not None:
            if started is not None:
                started(folder.path)
            print(f"this run is complete: {folder.path}")
            return 0
        print(f"going on with {folder.path} (may be changed while resuming: {', '.join(RESUMABLE)})")
    else:
        from embodied.rl.writing import make_task

        make_task(config["task"], composed.trusted_packages)  # a bad task must not leave a run folder
        name = config["name"] or str(config["task"]["_target_"]).rpartition(".")[2].lower()
        folder = RunFolder.create(Path(config["runs_dir"]), name)
        folder.start(composed.yaml, composed.overrides, {"seed": config["seed"], "threads": config["n_threads"]})
    folder.lock()
    if started is not None:
        started(folder.path)
    try:
        return _train(config, folder, composed)
    except EmbodiedError:
        if not resumed:
            folder.discard_unbegun()
        raise
    except OSError as error:
        if error.filename is None:  # a write to an open file does not name it
            error.filename = str(folder.path)
        raise


def _train(config: dict, folder, composed) -> int:
    from embodied.commands.progress import TrainingProgress
    from embodied.rl import training_report
    from embodied.rl.pipeline import Pipeline, result_of

    with TrainingProgress(int(config["trainer"]["total_steps"])) as progress:
        pipeline = Pipeline(
            config, folder, progress.say, composed.trusted_packages, composed.searchpath, progress
        )
        program, check = pipeline.program()
        progress.say(f"reward by {program.writer}: accepted, {program.evaluation}, {_screened(check)}")
        for warning in (check.screen or {}).get("warnings", ()):
            progress.say(f"warning: {warning}")
        outcome = pipeline.train(program)
    for name, found in outcome.evaluations.items():
        row = found.to_json()
        interval = f"[{row['low']:.0%}, {row['high']:.0%}]"
        print(f"{name:8s} success {row['rate']:.0%} {interval} over {row['episodes']} episodes")
    print("filming and writing the report ...", flush=True)
    report = training_report.write(pipeline, program, check, outcome)
    folder.finish(result_of(pipeline, program, outcome))
    print(f"policy:  {folder / 'policy'}")
    print(f"report:  {report}")
    return 0


def _screened(check) -> str:
    auc = (check.screen or {}).get("auc")
    return "screen AUC -" if auc is None else f"screen AUC {auc:.2f}"
