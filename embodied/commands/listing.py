"""Lists what there is: the options of all groups, the user's own included, and recorded answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from embodied.commands.completion import group_options, plural, user_conf_folders
from embodied.core.assets import conf_dir
from embodied.core.errors import ConfigError, UnknownNameError

HELP = """usage: embodied list [<what>] [--json]

Lists tasks, rewards, llms, trainers, ... : every group of conf/, and the yaml files in the folders of
EMBODIED_CONF or of searchpath=[...]. 'records' lists recorded answers of language models. Without <what>:
the groups themselves.

examples:
  embodied list
  embodied list tasks
  embodied list tasks searchpath=[.]
  embodied list llms --json
"""


def run(arguments: list[str]) -> int:
    """Prints one table, or JSON."""
    words = [word for word in arguments if not word.startswith(("-", "searchpath="))]
    unknown = [word for word in arguments if word.startswith("-") and word != "--json"]
    if unknown:
        raise UnknownNameError("option", unknown[0], ["--json", "--help"])
    if len(words) > 1:
        raise ConfigError(f"list takes one word, such as 'tasks', got: {' '.join(words)}")
    rows = listed(words[0] if words else None, _folders(arguments))
    if "--json" in arguments:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        _print(words[0] if words else "groups", rows)
    return 0


def listed(what: str | None, folders: list[Path]) -> list[dict[str, Any]]:
    """Rows with `name` and `description` (and where it helps `source`).

    Args:
        what: a group in singular or plural, `records`, or None for the groups.
        folders: configuration folders, the shipped one first.
    """
    options = group_options(folders)
    if what is None:
        rows = [{"name": plural(group), "description": ", ".join(names)} for group, names in options.items()]
        return [
            *rows,
            {"name": "records", "description": f"{len(_records())} recorded dialogues with language models"},
        ]
    if what == "records":
        return _records()
    names = {plural(group): group for group in options} | {group: group for group in options}
    if what not in names:
        raise UnknownNameError("list", what, [*map(plural, options), "records"])
    return [_row(names[what], name, folders) for name in options[names[what]]]


def describe(path: Path) -> str:
    """What a yaml says of itself: its `instruction` or `description`, else its first comment line."""
    import yaml

    text = path.read_text(encoding="utf-8")
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return f"(not readable: {str(error).splitlines()[0]})"
    for key in ("instruction", "description"):
        if isinstance(data, dict) and isinstance(data.get(key), str):
            return data[key].strip()
    comments = (line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#"))
    return next((line for line in comments if line and "@package" not in line), "")


def _row(group: str, name: str, folders: list[Path]) -> dict[str, Any]:
    path = next(f / group / f"{name}.yaml" for f in folders if (f / group / f"{name}.yaml").is_file())
    row = {"name": name, "description": describe(path)}
    return row if path.is_relative_to(conf_dir()) else row | {"source": str(path)}


def _folders(arguments: list[str]) -> list[Path]:
    own = next((word.partition("=")[2].strip("[]") for word in arguments if word.startswith("searchpath=")), "")
    folders = [Path(entry.strip()).resolve() for entry in own.split(",") if entry.strip()]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"searchpath: '{folder}' is not a folder")
    return [conf_dir(), *user_conf_folders(), *folders]


def _records() -> list[dict[str, Any]]:
    """Recorded answers that come with the package: one row a file, with its models and its size."""
    from embodied.core.files import read_jsonl

    rows = []
    for path in sorted((Path(__file__).resolve().parent.parent / "llm" / "records").glob("*.jsonl")):
        try:
            entries = list(read_jsonl(path))
        except (OSError, ValueError) as error:
            rows.append({"name": path.stem, "description": f"(not readable: {error})"})
            continue
        models = sorted({m for entry in entries for m in _models(entry)})
        rows.append({"name": path.stem, "description": f"{len(entries)} answers, models: {', '.join(models) or '?'}"})
    return rows


def _models(entry: Any) -> list[str]:
    """Model names in a record's entry, wherever its form keeps them."""
    if not isinstance(entry, dict):
        return []
    found = [entry["model"]] if isinstance(entry.get("model"), str) else []
    return found + [m for c in entry.get("answers", []) for m in _models(c)]


def _print(title: str, rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        print(f"no {title}")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("description", overflow="fold")
    if any("source" in row for row in rows):
        table.add_column("your own, in", overflow="fold")
    for row in rows:
        cells = [row["name"], row["description"]] + ([row.get("source", "")] if len(table.columns) == 3 else [])
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)
