"""Builds a part from its configuration: `{_target_: embodied.sim.tasks.reach.Reach, goal_radius_m: 0.02}`.

Only names inside `embodied`, `robots` and packages that the user trusts by name are imported, and only a class
or function whose own `__module__` lies there is called: a configuration cannot reach `os.system` through a
re-export.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from embodied.core.errors import ConfigError, UnknownNameError

OWN_PACKAGES = ("embodied", "robots")


def build(config: Mapping[str, Any], *, trusted_packages: Sequence[str] = (), **extra: Any) -> Any:
    """Calls the factory that `config['_target_']` names with the other keys as keyword arguments.

    Args:
        config: plain mapping with `_target_`; nested mappings with a `_target_` are built first.
        trusted_packages: top-level packages that the user named on the command line or in user settings.
        extra: further keyword arguments that wiring supplies (not from configuration).

    Raises:
        ConfigError: no `_target_`, an untrusted package, a wrong key or a missing one.
    """
    if "_target_" not in config:
        raise ConfigError(f"configuration without '_target_': {dict(config)!r}")
    target = config["_target_"]
    factory = resolve(target, trusted_packages)
    arguments = {
        key: build(value, trusted_packages=trusted_packages)
        if isinstance(value, Mapping) and "_target_" in value
        else value
        for key, value in config.items()
        if key != "_target_"
    }
    check_keys(factory, target, [*arguments, *extra])
    return factory(**arguments, **extra)


def resolve(target: str, trusted_packages: Sequence[str] = ()) -> Any:
    """Imports the class or function that a dotted name means; see `build` for what is allowed."""
    allowed = (*OWN_PACKAGES, *trusted_packages)
    module_name, _, attribute = str(target).rpartition(".")
    if module_name.split(".")[0] not in allowed:
        raise ConfigError(
            f"_target_ '{target}' is outside the packages {', '.join(allowed)};"
            " name its package in trusted_packages=[...] on the command line if you trust it"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"_target_ '{target}': {error}") from error
    if not hasattr(module, attribute):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise UnknownNameError("name", attribute, public, f"module {module_name}")
    factory = getattr(module, attribute)
    own = getattr(factory, "__module__", None) or ""
    if not callable(factory) or own.split(".")[0] not in allowed:
        raise ConfigError(f"_target_ '{target}' is not a class or function of {', '.join(allowed)} (it is of '{own}')")
    return factory


def check_keys(factory: Any, target: str, keys: Sequence[str]) -> None:
    """Answers a wrong or missing key with the factory's real ones."""
    parameters = inspect.signature(factory).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters]
    for key in keys:
        if key not in known:
            raise UnknownNameError("key", key, known, target)
    missing = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name not in keys
    ]
    if missing:
        raise ConfigError(f"{target} needs the key{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
