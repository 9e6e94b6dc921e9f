"""`embodied fit`: a vision-language-action policy from a dataset."""

from __future__ import annotations

from pathlib import Path

HELP = """embodied fit dataset=<folder> [key=value ...]

Fits a policy to demonstrations: pictures, state and a sentence in, spoken reasoning and chunks of actions out.

  policy=diffusion_vla   policy.reasoning=false leaves the reasoning out; policy.alpha weighs it
  backbone=light         see: embodied list backbones
  head=diffusion         l1, binned, fourier, diffusion, flow
  settings.steps=2000    settings.batch_size, settings.lr, settings.precision=bf16, ...
  resume=<run folder>    go on with an interrupted fit

On several devices: accelerate launch -m embodied.commands.main fit dataset=<folder> ...

examples:
  embodied fit dataset=datasets/drawer head=diffusion
  embodied fit dataset=datasets/drawer head=fourier settings.steps=500 policy.reasoning=false
"""
RESUMABLE = ("n_threads", "settings.validate_every", "settings.save_every")


def run(arguments: list[str]) -> int:
    """Runs the command."""
    from embodied.commands.compose import run_composed

    return run_composed("fit", arguments, execute)


def execute(composed) -> int:
    """Runs one composed configuration."""
    from embodied.core.errors import ConfigError
    from embodied.core.runs import RunFolder
    from embodied.data.dataset import Dataset

    config = dict(composed.config)
    if (config["dataset"] is None) == (config["resume"] is None):
        raise ConfigError("give either dataset=<folder>, or resume=<run folder> of a fit to go on with")
    if config["resume"]:
        from embodied.commands.compose import change_run_config, load_run_config

        folder = RunFolder.open(Path(config["resume"]))
        given = [o for o in composed.overrides if not o.startswith("resume=")]
        config = change_run_config(load_run_config(folder.path), given, RESUMABLE)
        if folder.result is not None:
            print(f"this run is complete: {folder.path}")
            return 0
        print(f"going on with {folder.path} (may be changed while resuming: {', '.join(RESUMABLE)})")
        fit = _prepared(config, Dataset(Path(config["dataset"])), composed.trusted_packages)
    else:
        fit = _prepared(config, Dataset(Path(config["dataset"])), composed.trusted_packages)
        name = config["name"] or str(config["policy"]["_target_"]).rpartition(".")[2].lower()
        folder = RunFolder.create(Path(config["runs_dir"]), name)
        provenance = {"seed": config["settings"]["seed"], "threads": config["n_threads"]}
        folder.start(composed.yaml, composed.overrides, provenance)
    folder.lock()
    return _fit(fit, folder)


def _prepared(config, dataset, trusted_packages):
    import torch

    from embodied.policies.fitting import Fit, FitSettings, architecture_for

    torch.set_num_threads(int(config["n_threads"]))
    architecture = architecture_for(
        dataset,
        policy=config["policy"],
        backbone=config["backbone"],
        head=config["head"],
        cameras=config["cameras"],
        chunk_size=config["chunk_size"],
        n_action_steps=config["n_action_steps"],
        vocabulary_size=config["vocabulary_size"],
    )
    return Fit(dataset, architecture, FitSettings(**config["settings"]), trusted_packages=trusted_packages)


def _fit(fit, folder) -> int:
    from embodied.commands.progress import FitProgress
    from embodied.policies.fit_report import write_fit_report

    size = sum(p.numel() for p in fit.network.parameters())
    last: dict[str, dict[str, float]] = {}
    with FitProgress(fit.settings.steps) as progress:
        progress.say(f"{size:,} weights, {len(fit.batches.windows):,} windows, run {folder.path}")

        def report(row) -> None:
            folder.metric({"kind": row.kind, "step": row.step, **row.values})
            last[row.kind] = row.values
            progress(row)

        policy = fit.run(folder.path, report)
    folder.finish({"kind": "fit", "steps": fit.step, "weights": size, "losses": last})
    print(f"policy:  {policy}")
    print(f"report:  {write_fit_report(folder.path)}")
    print(f"try it:  embodied evaluate policy={folder.path} tasks=[...]")
    return 0
