"""The run folder: one shape for every command.

`runs/<date>/<time>-<name>-<suffix>/` holds `config.yaml`, `overrides.txt`, `provenance.json`, `events.jsonl`,
`metrics.jsonl`, `tb/`, `reward/round_k/`, `checkpoints/`, `policy/`, `videos/` and `report.html`. Folders are private
(0700). `result.json` appears last: a run without it was interrupted and can be resumed.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import os
import platform
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embodied.core.errors import ConfigError
from embodied.core.files import append_jsonl, read_json, read_jsonl, sweep_temporaries, write_json, write_text

_PACKAGES = ("numpy", "mujoco", "gymnasium", "torch", "stable-baselines3", "transformers", "hydra-core")


class RunFolder:
    """A run on disk. Make one with `create`, open an old one with `open`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).resolve()
        self._lock: int | None = None

    @staticmethod
    def create(root: Path, name: str) -> RunFolder:
        """Makes a new, empty, private run folder under `root`."""
        now = datetime.now()
        path = Path(root) / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S}-{name}-{secrets.token_hex(2)}"
        try:
            path.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise ConfigError(
                f"cannot make the run folder {path}: {error.strerror}. Choose another place with runs_dir=<folder>"
            ) from None
        return RunFolder(path)

    @staticmethod
    def open(path: Path) -> RunFolder:
        """Opens an existing run folder."""
        folder = RunFolder(path)
        if not (folder.path / "config.yaml").is_file():
            raise ConfigError(f"'{path}' is not a run folder (it has no config.yaml). See: embodied runs list")
        return folder

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def lock(self) -> None:
        """Claims the folder for this process and sweeps what a killed writer left.

        Raises:
            ConfigError: another process has it; names its pid.
        """
        descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 20).decode() or "?"
            os.close(descriptor)
            raise ConfigError(f"run folder {self.path} is in use by process {pid.strip()}") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._lock = descriptor
        sweep_temporaries(self.path)

    def start(self, config_yaml: str, overrides: list[str], provenance: Mapping[str, Any]) -> None:
        """Writes what the run is made from, before its first step."""
        write_text(self / "config.yaml", config_yaml)
        write_text(self / "overrides.txt", "\n".join(overrides) + "\n")
        write_json(self / "provenance.json", {**machine_provenance(), **provenance})

    def discard_unbegun(self) -> None:
        """Removes the folder of a run that ended before there was an answer or a program: nothing had begun."""
        answered = any(row.get("answers") for row in read_jsonl(self / "llm" / "calls.jsonl"))
        written = (path for path in (self / "reward").glob("round_*/*") if path.name != "feedback.json")
        if answered or any(written):
            return
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):  # of another run on the same day
            self.path.parent.rmdir()

    def event(self, kind: str, **values: Any) -> None:
        """Appends to `events.jsonl`."""
        append_jsonl(self / "events.jsonl", {"time": datetime.now(UTC).isoformat(), "event": kind, **values})

    def metric(self, row: Mapping[str, Any]) -> None:
        """Appends to `metrics.jsonl`."""
        append_jsonl(self / "metrics.jsonl", dict(row))

    def events(self) -> Iterator[dict[str, Any]]:
        """All complete events."""
        return read_jsonl(self / "events.jsonl")

    def metrics(self) -> Iterator[dict[str, Any]]:
        """All complete metric rows."""
        return read_jsonl(self / "metrics.jsonl")

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes `result.json`: the run is complete."""
        write_json(self / "result.json", dict(result))

    @property
    def result(self) -> dict[str, Any] | None:
        """What `finish` wrote, or None for an interrupted run."""
        path = self / "result.json"
        return read_json(path) if path.is_file() else None


def find_runs(root: Path) -> list[RunFolder]:
    """All run folders under `root`, newest first."""
    found = [RunFolder(p.parent) for p in Path(root).glob("*/*/config.yaml")]
    return sorted(found, key=lambda run: (run.path.parent.name, run.path.name), reverse=True)


def machine_provenance() -> dict[str, Any]:
    """Versions, machine and source revision: what a run must be compared by."""
    return {
        "embodied": _version("embodied-control"),
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": sys.version.split()[0],
        "kernel": platform.release(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "git": _git(),
        "command": _command(),
    }


def _command() -> list[str]:
    """Our own command line. Of another program only the name is kept: its arguments are not ours to write down."""
    name = Path(sys.argv[0]).name
    return [name, *sys.argv[1:]] if name == "embodied" or sys.argv[0].endswith("commands/main.py") else [name]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git() -> dict[str, Any] | None:
    """Revision of the checkout that this package runs from; None for an installed wheel."""
    root = Path(__file__).resolve().parent.parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root)]
    try:
        sha = subprocess.run([*command, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        dirty = subprocess.run([*command, "status", "--porcelain"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"sha": sha.stdout.strip(), "dirty": bool(dirty.stdout.strip())}
