"""`-m`: one run for every combination of the swept values, as Hydra's basic sweeper splits them."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.errors import HydraException
from omegaconf import OmegaConf

from embodied.commands import checks
from embodied.commands.completion import group_options, user_conf_folders
from embodied.commands.compose import OWN_KEYS, compose_config, parse_overrides
from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.errors import ConfigError
from embodied.core.files import write_json
from embodied.core.runs import RunFolder, find_runs


def sweep(root: str, overrides: Sequence[str], *, show_only: bool = False) -> int:
    """Composes every job first (so that a misspelt one stops all before the first starts), then runs them.

    Args:
        root: the command, such as `train`.
        overrides: words in Hydra's sweep grammar: `seed=0,1,2`, `seed=range(3)`, `trainer=choice(ppo,sac)`,
            `task=glob(*)`.
        show_only: print the configurations instead of running them.

    Returns:
        0 when every job ended with 0, else the largest exit code.
    """
    launcher, rest = (
        _launcher([o for o in overrides if _is_launcher(o)]),
        [o for o in overrides if not _is_launcher(o)],
    )
    jobs, swept = split_jobs(rest)
    composed = [compose_config(root, job) for job in jobs]
    if show_only:
        for number, job in enumerate(composed):
            print(f"# job {number + 1}: {' '.join(_varied(jobs[number], swept))}\n{job.yaml}", end="---\n")
        return 0
    runs_dir = Path(composed[0].config.get("runs_dir", "runs"))
    folder = _sweep_folder(runs_dir, jobs)
    before = {run.path for run in find_runs(runs_dir)}
    codes = launcher.launch([[sys.executable, "-m", "embodied.commands.main", root, *job] for job in jobs], folder)
    fresh = [run for run in find_runs(runs_dir) if run.path not in before]
    rows = [
        _row(i, _varied(job, swept), code, _run_of(job, fresh))
        for i, (job, code) in enumerate(zip(jobs, codes, strict=True))
    ]
    write_json(folder / "sweep.json", {"command": root, "overrides": list(overrides), "jobs": rows})
    _print_table(rows, folder)
    return max(codes, key=abs) and max(1, *codes)


def split_jobs(overrides: Sequence[str]) -> tuple[list[list[str]], set[str]]:
    """The overrides of every job, and the keys that vary."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.core.override_parser.overrides_parser import OverridesParser

    lists = [o for o in overrides if o.lstrip("+~").partition("=")[0] in OWN_KEYS]
    parse_overrides(overrides)  # for its errors
    loader = ConfigLoaderImpl(create_config_search_path(str(conf_dir())))
    parsed = OverridesParser.create(loader).parse_overrides([o for o in overrides if o not in lists])
    swept = {o.get_key_element() for o in parsed if o.is_sweep_override()}
    if not swept:
        raise ConfigError("-m runs one job per combination, but no key has several values, such as seed=0,1,2")
    try:
        (jobs,) = BasicSweeper.split_arguments(parsed, None)
    except HydraException as error:
        raise ConfigError(f"{error}: sweep over listed values, range(a,b), choice(a,b) or glob(*)") from None
    return [[*job, *lists] for job in jobs], swept


def _is_launcher(override: str) -> bool:
    return override.partition("=")[0].split(".")[0] == "launcher"


def _launcher(overrides: Sequence[str]) -> Any:
    """Builds `launcher=<option>` with `launcher.<key>=<value>`, from `conf/launcher/`."""
    folders = [conf_dir(), *user_conf_folders()]
    options, name, changes = group_options(folders)["launcher"], "local", {}
    for override in parse_overrides(overrides):
        if override.key_or_group == "launcher":
            name = str(override.value())
            checks.check_option("launcher", name, options, [str(f) for f in folders])
        else:
            changes[override.key_or_group.removeprefix("launcher.")] = override.value()
    path = next(f / "launcher" / f"{name}.yaml" for f in folders if (f / "launcher" / f"{name}.yaml").is_file())
    config = OmegaConf.to_container(OmegaConf.load(path))
    for key, value in changes.items():
        config[key] = checks.fit_type(f"launcher.{key}", value, config.get(key), annotation="")
    return build(config)


def _sweep_folder(runs_dir: Path, jobs: list[list[str]]) -> Path:
    now = datetime.now()
    folder = runs_dir / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S}-sweep-{secrets.token_hex(2)}"
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error}. Choose another with runs_dir=<folder>") from None
    print(f"sweep of {len(jobs)} jobs, recorded in {folder}", flush=True)
    return folder


def _varied(job: Sequence[str], swept: set[str]) -> list[str]:
    return [word for word in job if word.partition("=")[0] in swept]


def _run_of(job: list[str], fresh: Sequence[RunFolder]) -> RunFolder | None:
    """The run folder that a job made: the new one with exactly its overrides."""
    for run in fresh:
        path = run / "overrides.txt"
        if path.is_file() and path.read_text(encoding="utf-8").split("\n")[: len(job)] == job:
            return run
    return None


def _row(index: int, varied: list[str], code: int, run: RunFolder | None) -> dict[str, Any]:
    result = (run.result if run else None) or {}
    return {
        "job": index + 1,
        "varied": varied,
        "exit_code": code,
        "success": result.get("success"),
        "run": None if run is None else os.path.relpath(run.path),
    }


def _print_table(rows: list[dict[str, Any]], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from embodied.commands.runs import success_text

    table = Table(title=None)
    for column in ("job", "varied", "result", "success", "run folder"):
        table.add_column(column, overflow="fold")
    for row in rows:
        state = "done" if row["exit_code"] == 0 else f"exit code {row['exit_code']}"
        table.add_row(str(row["job"]), "\n".join(row["varied"]), state, success_text(row["success"]), row["run"] or "-")
    Console().print(table)
    print(f"recorded in {folder / 'sweep.json'}")
