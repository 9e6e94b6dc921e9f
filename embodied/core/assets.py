"""Where `conf/` and `sim_assets/` are: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from embodied.core.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent.parent


def _shipped(name: str) -> Path:
    for candidate in (_PACKAGE / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise ConfigError(f"'{name}/' is neither in {_PACKAGE} nor beside it: reinstall embodied-control")


def conf_dir() -> Path:
    """The Hydra configuration folder."""
    return _shipped("conf")


def sim_assets_dir() -> Path:
    """The folder of our MJCF models."""
    return _shipped("sim_assets")


def data_file(*parts: str) -> Path:
    """A file inside the `embodied` package, such as a prompt."""
    path = _PACKAGE.joinpath(*parts)
    if not path.exists():
        raise ConfigError(f"shipped file {path} is missing: reinstall embodied-control")
    return path
