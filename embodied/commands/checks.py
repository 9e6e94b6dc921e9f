"""What is refused before a configuration is believed: secrets, misspelt keys, values of the wrong type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from embodied.core.errors import ConfigError, UnknownNameError, did_you_mean

_SECRET = re.compile(r"key|apikey|token|secret|password|passwd|passphrase|credentials?")
# `eos_token: </s>` and `token_dim: 64` are words of the field, not secrets.
_HARMLESS = re.compile(
    r"env|eos|bos|pad|unk|mask|sep|cls|special|image|action|behaviour|dim|size|length|count|max|min|ids?"
)
_ENV_READ = re.compile(r"oc\.env:\s*([A-Za-z_][A-Za-z0-9_]*)")


def looks_secret(key: str) -> bool:
    """Whether the last part of a dotted key names a secret; `api_key_env` does not: it names a variable."""
    words = re.split(r"[_\-]+", key.split(".")[-1].split("@")[0].lower())
    return any(map(_SECRET.fullmatch, words)) and not any(map(_HARMLESS.fullmatch, words))


def refuse_secret_overrides(overrides: Sequence[str]) -> None:
    """Refuses `llm.api_key=sk-...` before anything parses, prints or stores it."""
    for override in overrides:
        key, sign, value = override.lstrip("+~").partition("=")
        if sign:
            _refuse(key, value.strip("'\" "))


def refuse_secrets(config: Any, prefix: str = "") -> None:
    """Refuses a secret anywhere in a composed configuration."""
    for key, value in leaves(config, prefix):
        _refuse(key, "" if value is None else str(value))


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of all scalars."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(config, list | tuple):
        for index, value in enumerate(config):
            yield from leaves(value, f"{prefix}[{index}]")
    else:
        yield prefix, config


def _refuse(key: str, value: str) -> None:
    from embodied.llm import redact

    variable = _ENV_READ.search(value)
    named = looks_secret(key) and value not in ("", "null", "None", "???")
    read = variable is not None and looks_secret(variable.group(1).lower())
    if named or read or redact.everything(value) != value:
        raise ConfigError(
            f"'{key}' holds what looks like a secret; configurations are stored in run folders, so they"
            " never hold"
            " one. Put the secret in an environment variable and give that variable's NAME, such as"
            " llm.api_key_env=OPENAI_API_KEY"
        )


def check_key(key: str, base: Mapping[str, Any], groups: Sequence[str], root: str) -> Any:
    """The present value under a dotted key.

    Raises:
        UnknownNameError: the key does not exist; lists the real ones at the level where it went wrong.
    """
    node: Any = base
    parts = re.sub(r"\[(\d+)\]", r".\1", key).split(".")
    for depth, part in enumerate(parts):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
            continue
        if not isinstance(node, Mapping):
            above = ".".join(parts[:depth])
            raise ConfigError(f"'{key}': '{above}' is {node!r}, not a group of keys")
        if part not in node:
            known = [k for k in node if k != "_target_"] + (list(groups) if depth == 0 else [])
            where = ".".join(parts[:depth]) or f"the configuration of 'embodied {root}'"
            hint = (
                f" (a further keyword of its constructor is added with +{key}=...)"
                if "_target_" in node or not node
                else ""
            )
            raise UnknownNameError("key", part, dict.fromkeys(known), where + hint)
        node = node[part]
    return node


def check_option(group: str, name: str, options: Sequence[str], searched: Sequence[str]) -> None:
    """Refuses an unknown option of a group, listing the real ones."""
    if name not in options:
        places = f"; searched: {', '.join(searched)}" if len(searched) > 1 else ""
        raise ConfigError(
            f"unknown {group} '{name}'.{did_you_mean(name, options)} Known:"
            f" {', '.join(options) or '(none)'}{places}."
            f" A yaml of your own is found with searchpath=[<folder that holds {group}/{name}.yaml>]"
        )


def fit_type(key: str, value: Any, current: Any, annotation: str) -> Any:
    """The value in the type that the key has in the configuration: 1e6 for a whole number becomes 1000000.

    Args:
        key: dotted key, for the message.
        value: what the override gives.
        current: what the configuration had; None accepts anything.
        annotation: type of the constructor's parameter as text, where it is known: a `float` may show as a
            whole number in its yaml, and a `str` is given a text even when the value looks like a number.

    Raises:
        ConfigError: the types do not fit.
    """
    if value is None or current is None or (isinstance(value, str) and ("${" in value or value == "???")):
        return value
    if isinstance(current, str) and ("${" in current or current == "???"):
        return value
    if isinstance(current, bool):
        return _want(key, value, isinstance(value, bool), current, "true or false")
    if isinstance(current, int | float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(current, float) or (number and "float" in annotation):
            return _want(key, value, number, current, "a number")
        whole = number and float(value).is_integer()
        _want(key, value, whole, current, "a whole number")
        return int(value)
    if isinstance(current, str):
        _want(key, value, not isinstance(value, Mapping | list), current, "a text")
        return str(value) if annotation in ("str", "str | None") else value
    if isinstance(current, list):
        return _want(key, value, isinstance(value, list), current, "a list such as [a, b]")
    return _want(key, value, isinstance(value, Mapping), current, "a group of keys")


def _want(key: str, value: Any, fits: bool, current: Any, what: str) -> Any:
    if not fits:
        shown = str(current) if len(str(current)) <= 40 else str(current)[:37] + "..."
        raise ConfigError(f"'{key}' must be {what} (its default is {shown}), got {value!r}")
    return value
