"""Lists, compares and cleans run folders."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embodied.core.errors import ConfigError, UnknownNameError
from embodied.core.files import read_json
from embodied.core.runs import RunFolder, find_runs

HELP = """usage: embodied runs list    [runs_dir=<folder>] [--json]
       embodied runs compare <run> <run> ... [runs_dir=<folder>] [--json]
       embodied runs clean   [--keep N] [--interrupted] [--yes] [runs_dir=<folder>]

A run is named by its folder, or by any part of its folder's name that only it has, such as its last four
letters. clean deletes nothing without --yes or a typed 'yes', and never a run that is in progress.
  --keep N        keep the N newest, delete the others
  --interrupted   delete only runs that ended without a result (they could still be resumed)

examples:
  embodied runs list
  embodied runs compare a3f1 77c0
  embodied runs clean --keep 20
  embodied runs clean --interrupted --yes
"""

_WHOLE = ("date", "name", "success", "state", "seed")
_FLAGS = {"list": ("--json",), "compare": ("--json",), "clean": ("--keep", "--interrupted", "--yes")}


def run(arguments: list[str]) -> int:
    """Does one of `list`, `compare`, `clean`."""
    action, names, flags, root = _parse(arguments)
    if action == "list":
        return _list(root, json_wanted="--json" in flags)
    if action == "compare":
        return _compare([find_run(root, name) for name in names], json_wanted="--json" in flags)
    return _clean(root, flags)


def _parse(arguments: Sequence[str]) -> tuple[str, list[str], dict[str, str], Path]:
    words, flags, root = list(arguments), {}, Path("runs")
    action = words.pop(0) if words else "list"
    if action not in _FLAGS:
        raise UnknownNameError("action", action, _FLAGS, "'embodied runs'")
    names = []
    while words:
        word = words.pop(0)
        if word.startswith("runs_dir="):
            root = Path(word.partition("=")[2])
        elif word.startswith("-"):
            flag, sign, value = word.partition("=")
            if flag not in _FLAGS[action]:
                raise UnknownNameError("option", flag, (*_FLAGS[action], "runs_dir=<folder>"), f"'runs {action}'")
            if flag == "--keep" and not sign:
                value = words.pop(0) if words else ""
            flags[flag] = value
        else:
            names.append(word)
    if action == "compare" and len(names) < 2:
        raise ConfigError("compare takes at least two runs: embodied runs compare <run> <run>. See: embodied runs list")
    if action != "compare" and names:
        raise ConfigError(f"'runs {action}' takes no run, got '{names[0]}'")
    if not root.is_dir() and (action != "list" or root != Path("runs")):
        raise ConfigError(f"runs_dir: '{root}' is not a folder")
    return action, names, flags, root


def find_run(root: Path, name: str) -> RunFolder:
    """A run by its folder, or by a part of its folder's name that no other run has."""
    if (Path(name) / "config.yaml").is_file():
        return RunFolder(Path(name))
    runs = find_runs(root)
    found = [r for r in runs if name.rstrip("/") in f"{r.path.parent.name}/{r.path.name}"]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(
            f"'{name}' fits {len(found)} runs: {', '.join(r.path.name for r in found[:5])}. Give more of it"
        )
    raise UnknownNameError("run", name, [r.path.name for r in runs[:20]], str(root))


def state(run: RunFolder) -> str:
    """`running` when a process holds the folder's lock, `done` when there is a result, else `interrupted`."""
    path = run / ".lock"
    if path.is_file():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "running"
        finally:
            os.close(descriptor)
    return "done" if (run / "result.json").is_file() else "interrupted"


def success_text(success: Any) -> str:
    """`87% [79, 92] of 100` for a success entry of a result, `-` without one."""
    if not isinstance(success, Mapping) or success.get("rate") is None:
        return "-"
    text = f"{100 * success['rate']:.0f}%"
    if success.get("low") is not None and success.get("high") is not None:
        text += f" [{100 * success['low']:.0f}, {100 * success['high']:.0f}]"
    return text + (f" of {success['episodes']}" if success.get("episodes") else "")


def summary(run: RunFolder) -> dict[str, Any]:
    """One run as a row; what its result does not say is read from its configuration."""
    result, config = _result(run), _config(run)
    writer = _get(result, "reward.writer") or _short(_get(config, "reward._target_"))
    return {
        "date": f"{run.path.parent.name} {run.path.name[:5].replace('-', ':')}",
        "name": run.path.name[9:],
        "task": result.get("task") or _get(config, "task.name") or _short(_get(config, "task._target_")),
        "writer": writer,
        "trainer": _plain_name(result.get("trainer")) or _get(config, "trainer.algorithm"),
        "seed": result.get("seed", config.get("seed")),
        "success": result.get("success"),
        "state": state(run),
        "path": str(run.path),
    }


def _list(root: Path, *, json_wanted: bool) -> int:
    rows = [summary(run) for run in find_runs(root)]
    if json_wanted:
        _print_json(rows)
    elif not rows:
        print(f"no runs in {root}. Start one: embodied train task=open_drawer")
    else:
        columns = ["date", "name", "task", "writer", "trainer", "seed", "success", "state"]
        _print_table(columns, [[_cell(row, column) for column in columns] for row in rows])
    return 0


def _cell(row: Mapping[str, Any], column: str) -> str:
    if column == "success":
        return success_text(row["success"]).partition(" of ")[0]
    return "-" if row[column] is None else str(row[column])


def _percent(rate: float | None) -> str | None:
    return None if rate is None else f"{rate:.0%}"


def _compare(runs: Sequence[RunFolder], *, json_wanted: bool) -> int:
    """What differs in the configurations, then the results, side by side."""
    configs = [dict(_leaves(_config(run))) for run in runs]
    keys = list(dict.fromkeys(key for config in configs for key in config))
    differing = [key for key in keys if len({repr(config.get(key)) for config in configs}) > 1]
    results = [_result(run) for run in runs]
    rows = {key: [config.get(key) for config in configs] for key in differing}
    facts = {
        "state": [state(run) for run in runs],
        "success": [success_text(r.get("success")) for r in results],
        "success at the end": [_percent(_get(r, "success.at_end")) for r in results],
        "expert": [success_text(_get(r, "baselines.expert")) for r in results],
        "random": [success_text(_get(r, "baselines.random")) for r in results],
        "reward writer": [_get(r, "reward.writer") for r in results],
        "reward sha256": [(_get(r, "reward.sha256") or "")[:12] or None for r in results],
        "steps": [r.get("steps") for r in results],
        "wall time [s]": [None if r.get("wall_s") is None else round(r["wall_s"], 1) for r in results],
    }
    if json_wanted:
        _print_json({"runs": [str(r.path) for r in runs], "differences": rows, "results": facts})
        return 0
    names = [run.path.name for run in runs]
    print("configurations differ in:" if rows else "the configurations are equal")
    if rows:
        _print_table(
            ["key", *names],
            [[k, *("-" if v is None else str(v) for v in values)] for k, values in rows.items()],
        )
    print("results:")
    _print_table(["", *names], [[k, *("-" if v is None else str(v) for v in values)] for k, values in facts.items()])
    return 0


def _clean(root: Path, flags: Mapping[str, str]) -> int:
    if "--keep" not in flags and "--interrupted" not in flags:
        raise ConfigError("say what to delete: embodied runs clean --keep N, or --interrupted")
    keep = flags.get("--keep", "0")
    if not keep.isdigit():
        raise ConfigError(f"--keep takes a number of runs, got '{keep}'")
    runs = find_runs(root)
    if "--interrupted" in flags:
        runs = [run for run in runs if state(run) == "interrupted"]
    doomed = [run for run in runs[int(keep) :] if state(run) != "running"]
    if not doomed:
        print("nothing to delete")
        return 0
    size = sum(f.lstat().st_size for run in doomed for f in run.path.rglob("*"))
    for run in doomed:
        print(f"  {run.path}  ({state(run)})")
    print(f"{len(doomed)} run folders, {size / 1e6:.1f} MB")
    if "--yes" not in flags and not _confirmed():
        print("nothing was deleted")
        return 0
    deleted = sum(_delete(run) for run in doomed)
    print(f"deleted {deleted} of {len(doomed)}")
    return 0


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("nothing was deleted: there is no terminal to ask at. Add --yes")
    return input("delete them? Type yes: ").strip().lower() == "yes"


def _delete(run: RunFolder) -> bool:
    """Deletes a run while holding its lock, so that no process can start to resume it meanwhile."""
    descriptor = os.open(run / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(run.path)
        if not any(run.path.parent.iterdir()):
            run.path.parent.rmdir()
    except BlockingIOError:
        print(f"  {run.path} is in use now: kept")
        return False
    finally:
        os.close(descriptor)
    return True


def _config(run: RunFolder) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return data if isinstance(data, dict) else {}


def _result(run: RunFolder) -> dict[str, Any]:
    path = run / "result.json"
    try:
        data = read_json(path) if path.is_file() else {}
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _get(data: Mapping[str, Any], key: str) -> Any:
    node: Any = data
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _leaves(data: Any) -> Any:
    from embodied.commands.checks import leaves

    return leaves(data)


def _short(target: Any) -> str | None:
    return None if target is None else str(target).rpartition(".")[2]


def _plain_name(value: Any) -> str | None:
    return value.get("name") if isinstance(value, Mapping) else value


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold", no_wrap=column in _WHOLE)
    for row in rows:
        table.add_row(*(Text("".join(c if c.isprintable() else " " for c in str(cell))) for cell in row))
    Console().print(table)
