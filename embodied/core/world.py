"""What reward code sees: a read-only, batched view of named quantities.

Shapes: every value carries the leading batch axes `(...)` of the world and the quantity's own shape on the
last axes: `world.gripper.position` is `(..., 3)`. `world.time` is `(...)`. `world.previous` is the world one
control step earlier.

A world may evaluate a quantity when it is first asked for (`lazy_world`): a batch of locomotion states
declares thirty quantities of which a reward reads three. The value is that of the world's own state, whenever
it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from embodied.core.errors import ConfigError, UnknownNameError
from embodied.core.quantities import Schema


def frozen(value: Any) -> np.ndarray:
    """A private float64 copy that nobody can make writable again.

    Its memory is a `bytes` object: `setflags(write=True)` is refused, and `.base` leads to these bytes alone,
    never into the simulation.
    """
    array = np.asarray(value, dtype=np.float64)
    return np.ndarray(array.shape, np.float64, array.tobytes())


class World:
    """Attribute access over arrays: private read-only copies, so that no reward writes into the simulation.

    Args:
        schema: the readable names.
        values: mapping path -> array of shape `(*batch, *quantity.shape)`; all share the batch axes.
        previous: the world one step earlier, or None at the first step (then `previous` is the world itself).

    Raises:
        ConfigError: a quantity is missing, or the shapes do not fit the schema.
    """

    __slots__ = ("_previous", "_schema", "_source", "_values")

    _schema: Schema
    _values: dict[str, np.ndarray]
    _source: Mapping[str, np.ndarray] | None
    _previous: World | None

    def __init__(self, schema: Schema, values: Mapping[str, np.ndarray], previous: World | None = None) -> None:
        missing = [path for path in schema.quantities if path not in values]
        if missing:
            raise ConfigError(f"a world needs every quantity of its schema; missing: {', '.join(missing)}")
        kept = {path: frozen(values[path]) for path in schema.quantities}
        batch = kept["time"].shape
        for path, quantity in schema.quantities.items():
            if kept[path].shape != (*batch, *quantity.shape):
                raise ConfigError(
                    f"quantity '{path}' has shape {kept[path].shape}; with the batch axes {batch} of 'time'"
                    f" it must have {(*batch, *quantity.shape)}"
                )
        _fill(self, schema, kept, None, previous)

    def _detached(self) -> World:
        """This world without its own `previous`, so that a chain of steps is never kept alive."""
        return _fill(object.__new__(World), self._schema, self._values, self._source, None)

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
        return _value(self, "time").shape

    @property
    def schema(self) -> Schema:
        """The readable names."""
        return self._schema

    def quantity(self, name: str) -> np.ndarray:
        """The array under a dotted path or alias, `(*batch, *shape)`."""
        path = self._schema.aliases.get(name, name)
        if path not in self._schema.quantities:
            raise UnknownNameError("quantity", name, self._schema.names)
        return _value(self, path)

    def values(self) -> dict[str, np.ndarray]:
        """All arrays by path (read-only)."""
        return {path: _value(self, path) for path in self._schema.quantities}

    def rows(self, index: Any) -> World:
        """The world at `index` of the first batch axis (an int drops the axis)."""
        previous = None if self._previous is None else self._previous.rows(index)
        return lazy_world(self._schema, _Rows(self, index), previous)


def lazy_world(schema: Schema, source: Mapping[str, np.ndarray], previous: World | None = None) -> World:
    """A world whose quantities are looked up in `source` when they are first read, then kept.

    Args:
        schema: the readable names.
        source: mapping path -> array, evaluated on access. It must go on giving the values of one fixed
            moment, and must check shapes itself.
        previous: as in `World`.
    """
    return _fill(object.__new__(World), schema, {}, source, previous)


class _Rows(Mapping[str, np.ndarray]):
    """The values of a world at an index of its first batch axis."""

    __slots__ = ("_index", "_world")

    def __init__(self, world: World, index: Any) -> None:
        self._world, self._index = world._detached(), index

    def __getitem__(self, path: str) -> np.ndarray:
        return _value(self._world, path)[self._index]

    def __iter__(self):
        return iter(self._world.schema.quantities)

    def __len__(self) -> int:
        return len(self._world.schema.quantities)


class _Group:
    """A prefix of quantity paths, such as `world.gripper`."""

    __slots__ = ("_prefix", "_world")

    _prefix: str
    _world: World

    def __init__(self, world: World, prefix: str) -> None:
        object.__setattr__(self, "_world", world)
        object.__setattr__(self, "_prefix", prefix)

    def __getattr__(self, name: str) -> Any:
        return _resolve(self._world, f"{self._prefix}.{name}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"the world is read-only: '{self._prefix}.{name}' cannot be set")


def _fill(
    world: World,
    schema: Schema,
    values: dict[str, np.ndarray],
    source: Mapping[str, np.ndarray] | None,
    previous: World | None,
) -> World:
    """Sets the slots past the guard of `__setattr__`."""
    put = object.__setattr__
    put(world, "_schema", schema)
    put(world, "_values", values)
    put(world, "_source", source)
    put(world, "_previous", None if previous is None else previous._detached())
    return world


def peek(world: World, path: str) -> np.ndarray:
    """The value of a declared path without the private copy: for our own code that reads and never writes."""
    found = world._values.get(path)
    if found is not None:
        return found
    return _value(world, path) if world._source is None else world._source[path]


def _value(world: World, path: str) -> np.ndarray:
    """The value of a declared path, evaluated at the first time."""
    found = world._values.get(path)
    if found is None:
        assert world._source is not None, "an eager world holds every declared path"
        found = world._values[path] = frozen(world._source[path])
    return found


def _resolve(world: World, name: str) -> Any:
    found = world._values.get(name)
    if found is not None:
        return found
    schema = world._schema
    if name in schema.quantities:
        return _value(world, name)
    if name in schema.aliases:
        return _value(world, schema.aliases[name])
    if name in schema.groups:
        return _Group(world, name)
    if name.rpartition(".")[2].startswith("__"):  # protocol probes of numpy and copy must not look like typos
        raise AttributeError(name)
    raise AttributeError(str(UnknownNameError("quantity", name, schema.names)))
