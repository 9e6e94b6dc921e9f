"""Composes a command's configuration with Hydra, without Hydra's changes of folder and logging.

A command's root is `conf/<command>.yaml`. Three keys are ours and never part of a configuration, so that a
run folder cannot bring them back: `searchpath=[...]` (folders with a user's own yaml files and modules,
besides those of `EMBODIED_CONF`), `trusted_packages=[...]` (packages whose code `_target_` may name) and,
for sweeps, `launcher`. Hydra's errors are given in the words of the stack.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from embodied.commands import checks
from embodied.commands.completion import group_options, user_conf_folders
from embodied.core.assets import conf_dir
from embodied.core.errors import ConfigError, EmbodiedError, UnknownNameError

OWN_KEYS = ("searchpath", "trusted_packages")
FOLDER_KEYS = ("policy",)  # a group in `fit`, a folder wherever a finished policy is named
SENTENCE_KEYS = ("instruction", "feedback", "observed")


@dataclass(frozen=True)
class Composed:
    """A composed configuration and what it was made from.

    Attributes:
        root: the command, such as `train`.
        config: plain dicts and lists, interpolations resolved; a part is built from its entry by
            `core.build`.
        yaml: the same as text, for `config.yaml` and `--cfg job`.
        overrides: the words of the command line, for `overrides.txt`.
        trusted_packages: for `core.build.build(..., trusted_packages=...)`.
        searchpath: absolute folders of the user's own yaml files and modules (also appended to `sys.path`).
    """

    root: str
    config: dict[str, Any]
    yaml: str
    overrides: list[str]
    trusted_packages: tuple[str, ...] = ()
    searchpath: tuple[str, ...] = ()


def run_composed(root: str, arguments: Sequence[str], execute: Callable[[Composed], int]) -> int:
    """What every composed command's `run` calls: handles `--cfg job`, `-m` and plain runs.

    Args:
        root: the command, such as `train`.
        arguments: words after the command.
        execute: does the work for one configuration; returns the exit code.
    """
    overrides, flags = split_flags(arguments)
    if "-m" in flags:
        from embodied.commands.sweep import sweep

        return sweep(root, overrides, show_only="--cfg" in flags)
    launcher = [o for o in overrides if o.split("=")[0].split(".")[0] == "launcher"]
    if launcher:
        raise ConfigError(f"'{launcher[0]}' is for sweeps: add -m, or leave it out")
    composed = compose_config(root, overrides)
    if "--cfg" in flags:
        print(composed.yaml, end="")
        return 0
    return execute(composed)


def split_flags(arguments: Sequence[str]) -> tuple[list[str], set[str]]:
    """Separates overrides from `-m`/`--multirun` and `--cfg job`."""
    overrides, flags, words = [], set(), list(arguments)
    while words:
        word = words.pop(0)
        if word in ("-m", "--multirun"):
            flags.add("-m")
        elif word in ("-c", "--cfg", "--cfg=job"):
            if word != "--cfg=job" and (not words or words.pop(0) != "job"):
                raise ConfigError("--cfg takes 'job': embodied <command> ... --cfg job prints the configuration")
            flags.add("--cfg")
        elif word.startswith("-"):
            raise UnknownNameError("option", word, ["-m", "--cfg job", "--help"])
        else:
            overrides.append(word)
    return overrides, flags


def compose_config(root: str, overrides: Sequence[str]) -> Composed:
    """Composes `conf/<root>.yaml` with overrides in Hydra's grammar.

    Raises:
        ConfigError: a misspelt key, an unknown option, a wrong type, a missing value, a secret, an untidy
            folder.
    """
    checks.refuse_secret_overrides(overrides)
    parsed = parse_overrides([quoted_sentence(override) for override in overrides])
    own, rest = _split_own(parsed)
    named = {o.key_or_group: o.value() for o in rest if o.key_or_group in FOLDER_KEYS and root != "fit"}
    rest = [o for o in rest if o.key_or_group not in named]  # Hydra would take them for options of their group
    folders = [*user_conf_folders(), *_folders(own["searchpath"])]
    options = group_options([conf_dir(), *folders])
    _refuse_doubles(folders)
    _extend_path(folders)
    for override in rest:
        _check_group(override, options, folders)
    changes = [o for o in rest if _is_value_change(o, options)]
    search = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"] if folders else []
    shape = search + [_picked(o, options, root) for o in rest if o not in changes]
    base = OmegaConf.to_container(_compose(root, shape), resolve=False)
    fitted = [_fit(o, base, options, root, own["trusted_packages"]) for o in changes]
    composed = _compose(root, shape + fitted)
    for key, value in named.items():
        checks.check_key(key, base, [], root)
        OmegaConf.update(composed, key, value, force_add=True)
    config = to_plain(composed, root)
    checks.refuse_secrets(config)
    return Composed(
        root=root,
        config=config,
        yaml=OmegaConf.to_yaml(OmegaConf.create(config)),
        overrides=list(overrides),
        trusted_packages=tuple(own["trusted_packages"]),
        searchpath=tuple(str(folder) for folder in folders),
    )


def quoted_sentence(override: str) -> str:
    """A person's sentence with the quotes that Hydra's grammar wants, as it may hold commas, colons and quotes."""
    key, _, value = override.partition("=")
    if key not in SENTENCE_KEYS or " " not in value or value[0] in "\"'":
        return override
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)  # backslashes count only before a quote
    ending = re.search(r"\\*$", escaped)
    return f'{key}="{escaped}{ending.group() if ending else ""}"'


def parse_overrides(overrides: Iterable[str]) -> list[Override]:
    """Hydra's own grammar; what it cannot read is answered with an example."""
    parser, parsed = OverridesParser.create(), []
    for override in overrides:
        try:
            parsed += parser.parse_overrides([override])
        except HydraException:
            raise ConfigError(
                f"cannot read '{override}': write key=value, such as seed=1, trainer=ppo or 'name=\"two"
                " words\"'"
                " (quotes inside quotes for text with spaces or commas)"
            ) from None
    return parsed


def to_plain(config: DictConfig, root: str = "") -> dict[str, Any]:
    """Plain dicts and lists with interpolations resolved.

    Raises:
        ConfigError: a value that must be given is missing, or an interpolation leads nowhere.
    """
    raw = OmegaConf.to_container(config, resolve=False)
    missing = [key for key, value in checks.leaves(raw) if isinstance(value, str) and value == "???"]
    if missing:
        keys = ", ".join(f"{key}=<value>" for key in missing)
        raise ConfigError(f"{f'embodied {root}' if root else 'the configuration'} needs {keys}")
    try:
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
    except InterpolationResolutionError as error:
        key = getattr(error, "full_key", None) or "?"
        raise ConfigError(f"'{key}': {str(error).splitlines()[0]}") from None


def load_run_config(run_folder: Path) -> dict[str, Any]:
    """The plain configuration of an earlier run, for `resume=` and `evaluate run=`.

    Raises:
        ConfigError: not a run folder, or its `config.yaml` cannot be read.
    """
    path = Path(run_folder) / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"'{run_folder}' is not a run folder (it has no config.yaml). See: embodied runs list")
    try:
        config = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception as error:  # yaml's errors have many roots
        raise ConfigError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path} holds no configuration")
    return config


def change_run_config(config: Mapping[str, Any], overrides: Sequence[str], allowed: Sequence[str]) -> dict[str, Any]:
    """An earlier run's configuration with the few keys changed that a resumed run may change.

    Args:
        config: from `load_run_config`.
        overrides: `key=value` words; those of `OWN_KEYS` and `resume` are passed over.
        allowed: dotted keys that may change, such as `steps`; a group stands for all its keys.

    Raises:
        ConfigError: another key was given; names the allowed ones.
    """
    changed = OmegaConf.create(dict(config))
    for override in parse_overrides(overrides):
        key = override.key_or_group
        if key in (*OWN_KEYS, "resume"):
            continue
        if not any(key == name or key.startswith(f"{name}.") for name in allowed):
            raise ConfigError(
                f"a resumed run keeps its '{key}'; with resume= these can change:"
                f" {', '.join(allowed) or '(none)'}."
                " For another setting start a new run"
            )
        current = checks.check_key(key, config, (), "resume")
        OmegaConf.update(changed, key, checks.fit_type(key, override.value(), current, annotation=""))
    return to_plain(changed)


def _split_own(parsed: Sequence[Override]) -> tuple[dict[str, list[str]], list[Override]]:
    own: dict[str, list[str]] = {key: [] for key in OWN_KEYS}
    rest = []
    for override in parsed:
        if override.key_or_group not in OWN_KEYS:
            rest.append(override)
            continue
        value = override.value()
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in items):
            raise ConfigError(f"'{override.key_or_group}' must be a list of names such as [a, b], got {value!r}")
        own[override.key_or_group] = items
    for package in own["trusted_packages"]:
        if not package.isidentifier():
            raise ConfigError(f"trusted_packages: '{package}' is not the name of a top-level Python package")
    return own, rest


def _folders(entries: Sequence[str]) -> list[Path]:
    folders = []
    for entry in entries:
        folder = Path(entry.removeprefix("file://")).expanduser().resolve()
        if not folder.is_dir():
            raise ConfigError(f"searchpath: '{entry}' is not a folder (looked for {folder})")
        if any(c in str(folder) for c in ",[]{}'\"$"):
            raise ConfigError(f"searchpath: the folder name '{folder}' holds one of , [ ] {{ }} ' \" $: rename it")
        folders.append(folder)
    return folders


def _refuse_doubles(folders: Sequence[Path]) -> None:
    """A user's yaml that has the name of a shipped one would silently lose to it."""
    shipped = conf_dir()
    for folder in folders:
        for group in (p for p in shipped.iterdir() if p.is_dir() and (folder / p.name).is_dir()):
            for path in (folder / group.name).rglob("*.yaml"):
                name = path.relative_to(folder)
                if (shipped / name).is_file() and not (shipped / name).samefile(path):
                    raise ConfigError(f"{path} has the name of a shipped one ({shipped / name}): rename yours")


def _extend_path(folders: Sequence[Path]) -> None:
    """Lets modules beside a user's yaml files be imported; last, so that they hide nothing."""
    for folder in map(str, folders):
        if folder not in sys.path:
            sys.path.append(folder)


def _check_group(override: Override, options: Mapping[str, list[str]], folders: Sequence[Path]) -> None:
    group = override.key_or_group
    if group not in options or override.is_delete():
        return
    value = override.value()
    if isinstance(value, Mapping):
        return
    for name in value if isinstance(value, list) else [value]:
        if override.is_sweep_override():
            raise ConfigError(f"'{override.input_line}' names several options: sweep over them with -m")
        if name is not None:
            searched = [str(conf_dir()), *map(str, folders)]
            checks.check_option(group, str(name).removesuffix(".yaml"), options[group], searched)


def _is_value_change(override: Override, options: Mapping[str, list[str]]) -> bool:
    """Whether an override sets a value of an existing key: it picks no option, adds and deletes nothing."""
    key = override.key_or_group
    return not (
        override.is_add() or override.is_force_add() or override.is_delete() or override.is_sweep_override()
    ) and not (key in options or "/" in key or key.startswith("hydra") or override.package)


def _picked(override: Override, options: Mapping[str, list[str]], root: str) -> str:
    """The override's text; an option of a group that the root holds as `group: null` is added to it."""
    text, group = override.input_line, override.key_or_group
    if group not in options or override.package or text.startswith(("+", "~")):
        return text
    plain = OmegaConf.to_container(OmegaConf.load(conf_dir() / f"{root}.yaml"), resolve=False)
    held = isinstance(plain, dict) and plain.get(group, "absent") is None
    return f"+{text}" if held and override.value() is not None else text


def _fit(override: Override, base: Any, options: Mapping[str, list[str]], root: str, trusted: Sequence[str]) -> str:
    """The override's text, with its key checked and its value in the key's type."""
    key, value = override.key_or_group, override.value()
    current = checks.check_key(key, base, list(options), root)
    mixed = isinstance(current, int | str) and not isinstance(value, type(current))
    fitted = checks.fit_type(key, value, current, _expected(key, base, trusted) if mixed else "")
    if type(fitted) is type(value):
        return override.input_line
    return f"{key}={fitted!r}" if not isinstance(fitted, str) else f"{key}='{fitted}'"


def _expected(key: str, base: Any, trusted: Sequence[str]) -> str:
    """The annotation of the constructor's parameter that a key goes to, as text; empty without one."""
    import inspect

    from embodied.core.build import resolve

    above, _, name = key.rpartition(".")
    node = OmegaConf.select(OmegaConf.create(base), above) if above else base
    if not isinstance(node, Mapping) or "_target_" not in node:
        return ""
    try:
        parameters = inspect.signature(resolve(node["_target_"], trusted)).parameters
    except (EmbodiedError, TypeError, ValueError):
        return ""
    return str(parameters[name].annotation) if name in parameters else ""


def _compose(root: str, overrides: list[str]) -> DictConfig:
    if not (conf_dir() / f"{root}.yaml").is_file():
        raise ConfigError(f"{conf_dir() / root}.yaml is missing: reinstall embodied-control")
    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings(), initialize_config_dir(str(conf_dir()), version_base="1.3"):
            warnings.simplefilter("ignore")
            return compose(root, overrides=overrides)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise _translated(error, root) from None


def _translated(error: Exception, root: str) -> ConfigError:
    """Hydra's and OmegaConf's messages as one line each."""
    text = " ".join(str(error).split())
    options = re.search(r"Could not find '([^']+)' Available options in '([^']+)': (.*?) Config search path", text)
    if options:
        group, name = options.group(2), options.group(1).removeprefix(f"{options.group(2)}/")
        return UnknownNameError(group, name, options.group(3).split())
    text = text.split(" Config search path:")[0].split(" See https://hydra.cc")[0]
    text = re.sub(r" (full_key|object_type)[:=]\s*\S+", "", text)
    must = re.match(r"You must specify '([^']+)'", text)
    if must:
        return ConfigError(f"embodied {root} needs {must.group(1)}=<option>. See: embodied list {must.group(1)}")
    untaken = re.match(r"Could not override '([^']+)'. (Did you mean to override|No match in the defaults list)", text)
    if untaken:
        return ConfigError(f"'embodied {root}' takes no '{untaken.group(1)}='. See: embodied {root} --cfg job")
    if "requires --multirun" in text or "Ambiguous value" in text:
        return ConfigError(f"{text.split(' 1. ')[0]}: several values need -m, a list is written [a, b]")
    return ConfigError(text)
