"""`embodied data`: look a dataset over."""

from __future__ import annotations

import json
from pathlib import Path

HELP = """embodied data doctor <dataset> [--repair] [--quick]
       embodied data stats  <dataset>
       embodied data show   <dataset> [--episode N] [--out page.html]
       embodied data export <dataset> --out <folder>

doctor says what is wrong (exit code 1) or odd; --repair packs the episodes that a killed recording left, --quick leaves
the films out. stats prints the statistics that policies normalise with. show writes a page with contact sheets and
plots. export copies a dataset whose robot says what it does with LeRobot's language columns, for LeRobot after 0.4.4.
Datasets are in the LeRobot v3 layout, ours or LeRobot's own.

examples:
  embodied data doctor datasets/drawer
  embodied data show datasets/drawer --episode 3
"""


def run(arguments: list[str]) -> int:
    """Does one of `doctor`, `stats`, `show`, `export`."""
    import argparse

    from embodied.core.errors import ConfigError

    parser = argparse.ArgumentParser(prog="embodied data", usage=HELP, add_help=False, exit_on_error=False)
    parser.add_argument("action", choices=["doctor", "stats", "show", "export"])
    parser.add_argument("dataset")
    parser.add_argument("--repair", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--episode", type=int, default=0)
    parser.add_argument("--out")
    try:
        given, unknown = parser.parse_known_args(arguments)
    except (argparse.ArgumentError, SystemExit) as error:
        raise ConfigError(f"data: {error}. {HELP.splitlines()[0]}") from None
    if unknown:
        raise ConfigError(f"data: unknown argument '{unknown[0]}'. {HELP.splitlines()[0]}")
    folder = Path(given.dataset)
    if given.action == "doctor":
        return _doctor(folder, given.repair, given.quick)
    from embodied.data.dataset import Dataset

    dataset = Dataset(folder)
    if given.action == "stats":
        return _stats(dataset)
    if given.action == "export":
        from embodied.data.export import export

        if given.out is None:
            raise ConfigError("data export: --out <folder> says where the copy goes")
        print(f"dataset: {export(dataset, Path(given.out))}")
        return 0
    if not 0 <= given.episode < len(dataset.episodes):
        raise ConfigError(f"--episode {given.episode}: the dataset has episodes 0 to {len(dataset.episodes) - 1}")
    from embodied.data.page import write_page

    print(f"page: {write_page(dataset, Path(given.out or 'dataset.html'), given.episode)}")
    return 0


def _doctor(folder: Path, repair: bool, quick: bool) -> int:
    from embodied.data import doctor

    if repair:
        print(f"packed {doctor.repair(folder)} waiting episodes")
    found = doctor.examine(folder, films=not quick)
    for finding in found:
        print(f"{finding.level}: {finding.where}: {finding.what}")
    errors = sum(finding.level == "error" for finding in found)
    print(json.dumps({"dataset": str(folder), "errors": errors, "warnings": len(found) - errors}))
    return 1 if errors else 0


def _stats(dataset) -> int:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("feature", "min", "q01", "mean", "std", "q99", "max"):
        table.add_column(title, justify="left" if title == "feature" else "right")
    for key, stats in dataset.stats.items():
        names = dataset.features[key].names or [str(i) for i in range(len(stats["min"]))]
        if dataset.features[key].is_video:
            names = ["red", "green", "blue"]
        for i, name in enumerate(names):
            row = (f"{float(stats[s].ravel()[i]):.4g}" for s in ("min", "q01", "mean", "std", "q99", "max"))
            table.add_row(f"{key} {name}", *row)
    Console().print(table)
    return 0
