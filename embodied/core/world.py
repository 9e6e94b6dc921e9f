"""What reward code sees: a read-only, batched view of named quantities.

Shapes: every value carries the leading batch axes `(...)` of the world and the quantity's own shape on the
last axes: `world.gripper.position` is `(..., 3)`. `world.time` is `(...)`. `world.previous` is the world one
control step earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from embodied.core.errors import UnknownNameError
from embodied.core.quantities import Schema


class World:
    """Attribute access over arrays. Arrays are private read-only copies: no reward can write into the simulation.

    Args:
        schema: the readable names.
        values: mapping path -> array of shape `(*batch, *quantity.shape)`; all share the batch axes.
        previous: the world one step earlier, or None at the first step (then `previous` is the world itself).
    """

    __slots__ = ("_previous", "_schema", "_values")

    def __init__(self, schema: Schema, values: Mapping[str, np.ndarray], previous: World | None = None) -> None:
        frozen = {}
        for path in schema.quantities:
            value = np.array(values[path], dtype=np.float64)
            value.flags.writeable = False
            frozen[path] = value
        object.__setattr__(self, "_schema", schema)
        object.__setattr__(self, "_values", frozen)
        object.__setattr__(self, "_previous", None if previous is None else previous._detached())

    def _detached(self) -> World:
        """This world without its own `previous`, so that a chain of steps is never kept alive."""
        copy = object.__new__(World)
        object.__setattr__(copy, "_schema", self._schema)
        object.__setattr__(copy, "_values", self._values)
        object.__setattr__(copy, "_previous", None)
        return copy

    @property
    def previous(self) -> World:
        """The world one control step earlier; itself at the first step."""
        return self if self._previous is None else self._previous

    def __getattr__(self, name: str) -> Any:
        return _resolve(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"the world is read-only: '{name}' cannot be set")

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes that all values share."""
        return self._values["time"].shape

    @property
    def schema(self) -> Schema:
        """The readable names."""
        return self._schema

    def quantity(self, name: str) -> np.ndarray:
        """The array under a dotted path or alias, `(*batch, *shape)`."""
        path = self._schema.aliases.get(name, name)
        if path not in self._values:
            raise UnknownNameError("quantity", name, self._schema.names)
        return self._values[path]

    def values(self) -> dict[str, np.ndarray]:
        """All arrays by path (read-only)."""
        return dict(self._values)

    def rows(self, index: Any) -> World:
        """The world at `index` of the first batch axis (an int drops the axis)."""
        previous = None if self._previous is None else self._previous.rows(index)
        return World(self._schema, {k: v[index] for k, v in self._values.items()}, previous)


class _Group:
    """A prefix of quantity paths, such as `world.gripper`."""

    __slots__ = ("_prefix", "_world")

    def __init__(self, world: World, prefix: str) -> None:
        object.__setattr__(self, "_world", world)
        object.__setattr__(self, "_prefix", prefix)

    def __getattr__(self, name: str) -> Any:
        return _resolve(self._world, f"{self._prefix}.{name}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"the world is read-only: '{self._prefix}.{name}' cannot be set")


def _resolve(world: World, name: str) -> Any:
    values = object.__getattribute__(world, "_values")
    if name in values:
        return values[name]
    schema = object.__getattribute__(world, "_schema")
    if name in schema.aliases:
        return values[schema.aliases[name]]
    if name in schema.groups:
        return _Group(world, name)
    if name.rpartition(".")[2].startswith("__"):  # protocol probes of numpy and copy must not look like typos
        raise AttributeError(name)
    raise AttributeError(str(UnknownNameError("quantity", name, schema.names)))
