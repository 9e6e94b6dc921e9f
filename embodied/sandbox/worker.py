"""The child's side: load trusted code, lock, and only then run what may see a model's program.

An entry is a module or an object in one (`embodied.rl.worker:Trainer`) with two functions:

`prepare(request) -> context`
    Trusted; runs before the lock: imports, environments, models, a warm-up. It must not run model-written
    code, and must not leave threads behind. Compiled libraries that `run` needs are imported here: none can
    be loaded later. (Convolutions of torch compile code as they run: switch `torch.backends.mkldnn.enabled`
    off, or ask for `jit`.)
`run(context, channel) -> dict | None`
    Runs after the lock. It binds programs, makes its thread pools, works and sends messages. What it
    returns is the result of the process.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from embodied.core.errors import EmbodiedError, SandboxError
from embodied.sandbox import kernel
from embodied.sandbox.channel import Channel, ChannelClosed
from embodied.sandbox.lock import Limits, apply_lock

MAX_TEXT = 4000


def main(in_fd: int, out_fd: int, parent_pid: int) -> NoReturn:
    """Serves one request and exits; never returns."""
    kernel.die_with_parent(parent_pid)
    os.umask(0o077)
    channel = Channel(in_fd, out_fd)
    stage = "start"
    try:
        order = channel.receive()
        if order is None:
            raise SandboxError("stopped before it started")
        stage = "import"
        entry = load_entry(order["entry"], order["packages"], order["import_paths"])
        stage = "prepare"
        context = entry.prepare(order["request"])
        stage = "lock"
        report = apply_lock(
            order["lock"],
            parent_pid=parent_pid,
            writable=None if order["run_folder"] is None else Path(order["run_folder"]),
            readable=[Path(p) for p in order["readable"]],
            limits=Limits(**order["limits"]),
            keep_fds={in_fd, out_fd},
            allow_missing=order["allow_missing"],
            jit=order["jit"],
        )
    except BaseException as error:
        _leave(
            channel,
            "failed",
            {"stage": stage, "text": _text(error, short=isinstance(error, EmbodiedError))},
            3,
        )
    channel.emit("ready", {"report": report})
    try:
        result = entry.run(context, channel)
    except ChannelClosed:
        os._exit(4)
    except BaseException as error:
        _leave(channel, "error", {"text": _text(error, short=False)}, 1)
    try:
        channel.emit("end", {"result": result})
    except (ValueError, TypeError) as error:
        _leave(channel, "error", {"text": f"the result cannot be sent: {error}"}, 1)
    _exit(0)


def load_entry(name: str, packages: list[str], import_paths: list[str]) -> Any:
    """Imports an entry by name.

    Args:
        name: `package.module` or `package.module:object`.
        packages: packages that the caller trusts besides `embodied`.
        import_paths: folders, trusted by the caller, where those packages lie.

    Raises:
        SandboxError: the package is not trusted, or the entry lacks one of its two functions.
    """
    trusted = {"embodied", *packages}
    module_name, _, attribute = name.partition(":")
    if module_name.partition(".")[0] not in trusted:
        raise SandboxError(
            f"entry '{name}' lies outside the trusted packages ({', '.join(sorted(trusted))});"
            " the caller can name its package in packages=[...]"
        )
    sys.path.extend(path for path in import_paths if path not in sys.path)
    try:
        entry = importlib.import_module(module_name)
        for part in attribute.split(".") if attribute else ():
            entry = getattr(entry, part)
    except (ImportError, AttributeError) as error:
        raise SandboxError(f"entry '{name}' cannot be loaded: {error}") from error
    origin = getattr(entry, "__module__", module_name)
    if origin.partition(".")[0] not in trusted:
        raise SandboxError(f"entry '{name}' comes from '{origin}', which is not a trusted package")
    for function in ("prepare", "run"):
        if not callable(getattr(entry, function, None)):
            raise SandboxError(f"entry '{name}' has no function '{function}'")
    return entry


def _text(error: BaseException, *, short: bool) -> str:
    try:
        text = str(error) if short else "".join(traceback.format_exception(error))
    except BaseException:
        text = f"{type(error).__name__} (its text cannot be read)"
    clean = "".join(c if c.isprintable() or c == "\n" else " " for c in text[-MAX_TEXT:])
    return clean.encode("utf-8", "replace").decode()


def _leave(channel: Channel, kind: str, data: dict, code: int) -> NoReturn:
    with contextlib.suppress(ChannelClosed):
        channel.emit(kind, data)
    _exit(code)


def _exit(code: int) -> NoReturn:
    """Ends at once: threads of libraries and exit handlers of a program have no say."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
