"""World quantities: the one list of what reward code, observations, success and the recorder may read.

A `Schema` is generated into the class listing of a prompt, the allow-list of the static check and the docs,
so the three can never disagree.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from embodied.core.errors import ConfigError, UnknownNameError

_RESERVED = frozenset({"time", "previous", "quantity", "values", "rows", "schema", "batch_shape"})
_PATH = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*")  # published names have capitals


@dataclass(frozen=True)
class Quantity:
    """One named, readable fact about the world.

    Attributes:
        path: dotted name, e.g. `gripper.position`.
        shape: shape of one environment's value; `()` is a scalar, `(3,)` a vector.
        unit: SI unit (`m`, `rad`, `m/s`, ...) or `1` for a pure number, `bool` for 0/1.
        frame: `world`, `joint`, `camera`, ... or `-` where a frame has no meaning.
        description: one line for the prompt and the docs.
    """

    path: str
    shape: tuple[int, ...]
    unit: str
    frame: str
    description: str

    def __post_init__(self) -> None:
        if self.path != "time":
            _check_name("quantity path", self.path, _PATH)


def _check_name(kind: str, path: str, pattern: re.Pattern[str]) -> None:
    parts = path.split(".")
    if not pattern.fullmatch(path) or any(keyword.iskeyword(part) for part in parts):
        raise ConfigError(f"{kind} '{path}' is not a dotted lower-case name, such as 'gripper.position'")
    if parts[0] in _RESERVED:
        raise ConfigError(f"{kind} '{path}': {', '.join(sorted(_RESERVED))} are reserved by the world")


TIME = Quantity("time", (), "s", "-", "time since the start of the episode")


@dataclass(frozen=True)
class Schema:
    """The quantities of a task, in order, and the aliases under which published code knows them.

    Attributes:
        quantities: mapping path -> `Quantity`; `time` is always present.
        aliases: mapping alias path -> path, e.g. `{'robot.ee_position': 'gripper.position'}`.
    """

    quantities: Mapping[str, Quantity]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(quantities: Iterable[Quantity], aliases: Mapping[str, str] | None = None) -> Schema:
        """Builds a schema; refuses doubled paths, a path that is also a prefix, and aliases of nothing."""
        table = {TIME.path: TIME}
        for quantity in quantities:
            if quantity.path in table:
                raise ConfigError(f"quantity '{quantity.path}' is declared twice")
            table[quantity.path] = quantity
        schema = Schema(table, dict(aliases or {}))
        for alias, path in schema.aliases.items():
            if path not in table:
                raise UnknownNameError("quantity", path, table, f"alias '{alias}'")
            if alias in table:
                raise ConfigError(f"alias '{alias}' hides the quantity of the same name")
            _check_name("alias", alias, _ALIAS)
        names = set(schema.names)
        for name in names:
            parent = name.rpartition(".")[0]
            while parent:
                if parent in names:
                    raise ConfigError(f"'{parent}' is a quantity and also the group of '{name}': rename one")
                parent = parent.rpartition(".")[0]
        return schema

    @property
    def names(self) -> tuple[str, ...]:
        """All readable paths, aliases included."""
        return (*self.quantities, *self.aliases)

    @cached_property
    def groups(self) -> frozenset[str]:
        """Every proper prefix of a readable path: `gripper` for `gripper.position`."""
        found = set()
        for name in self.names:
            parts = name.split(".")
            found.update(".".join(parts[:i]) for i in range(1, len(parts)))
        return frozenset(found)

    def __getitem__(self, name: str) -> Quantity:
        """The quantity under a path or an alias."""
        path = self.aliases.get(name, name)
        if path not in self.quantities:
            raise UnknownNameError("quantity", name, self.names)
        return self.quantities[path]

    def to_json(self) -> dict:
        """Plain data; `from_json` gives the schema back."""
        return {
            "quantities": [[q.path, list(q.shape), q.unit, q.frame, q.description] for q in self.quantities.values()],
            "aliases": dict(self.aliases),
        }

    @staticmethod
    def from_json(data: Mapping) -> Schema:
        """Inverse of `to_json`."""
        rows = [Quantity(p, tuple(s), u, f, d) for p, s, u, f, d in data["quantities"]]
        return Schema.of([q for q in rows if q.path != "time"], data["aliases"])

    def class_listing(self, root: str = "World") -> str:
        """Python-like listing of typed, commented attributes, as Text2Reward shows a world to a model."""
        tree: dict = {}
        for path, quantity in self.quantities.items():
            node = tree
            *groups, leaf = path.split(".")
            for group in groups:
                node = node.setdefault(group, {})
            node[leaf] = quantity
        classes: dict[str, str] = {}
        _render_class(root, root, tree, classes)
        return "\n\n".join(classes.values())


def _render_class(name: str, root: str, node: dict, out: dict[str, str]) -> None:
    lines, taken = [f"class {name}:"], {*out, root, name}
    for key, child in node.items():
        if isinstance(child, Quantity):
            shape = "(..., " + ", ".join(map(str, child.shape)) + ")" if child.shape else "(...)"
            frame = "" if child.frame == "-" else f", {child.frame} frame"
            lines.append(f"    {key}: Array  # shape {shape}, [{child.unit}]{frame}: {child.description}")
        else:
            child_name = "".join(part.capitalize() for part in key.split("_"))
            if child_name in taken:  # `left.joint` and `right.joint` are two classes
                child_name = name + child_name
            _render_class(child_name, root, child, out)
            taken = {*taken, *out}
            lines.append(f"    {key}: {child_name}")
    if name == root:
        lines.append(f"    previous: {root}  # the world one control step earlier (itself at the first step)")
    out[name] = "\n".join(lines)
