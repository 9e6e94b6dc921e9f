"""What the local names of one function stand for, as far as the world is concerned."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from embodied.core.quantities import Schema


@dataclass(frozen=True)
class Ref:
    """A place in the schema: a group (or the world itself, path ''), or a quantity when `leaf`."""

    path: str
    previous: bool = False
    leaf: bool = False


class Scope:
    """Names of one function, independent of the order of execution."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.bound: set[str] = set()
        self._refs: dict[str, set[Ref] | None] = {}
        self._names = frozenset(schema.names)

    def enter(self, function: ast.FunctionDef, parameters: set[str], world_name: str) -> None:
        """Reads all bindings of a function: parameters, assignments, loops and comprehensions."""
        self.bound = set(parameters)
        self._refs = dict.fromkeys(parameters)
        if world_name in parameters:
            self._refs[world_name] = {Ref("")}
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.bound.add(node.id)
        for node in sorted(
            (n for n in ast.walk(function) if isinstance(n, ast.Assign | ast.AnnAssign | ast.For | ast.comprehension)),
            key=lambda n: getattr(n, "lineno", 0) or getattr(n.iter, "lineno", 0),
        ):
            self._bind(node)
        for name in self.bound:
            self._refs.setdefault(name)

    def _bind(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._pair(target, [node.value])
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self._pair(node.target, [node.value])
        elif isinstance(node, ast.For | ast.comprehension):
            values = node.iter.elts if isinstance(node.iter, ast.Tuple | ast.List) else []
            self._pair(node.target, list(values))

    def _pair(self, target: ast.expr, values: list[ast.expr]) -> None:
        if isinstance(target, ast.Name):
            found = [self.resolve(value) for value in values]
            known = set().union(*(f for f in found if f)) if found and all(found) else None
            earlier = self._refs.get(target.id, set())
            self._refs[target.id] = None if known is None or earlier is None else earlier | known
        elif isinstance(target, ast.Tuple | ast.List):
            for i, element in enumerate(target.elts):
                parts = [
                    v.elts[i] for v in values if isinstance(v, ast.Tuple | ast.List) and len(v.elts) == len(target.elts)
                ]
                self._pair(element, parts if len(parts) == len(values) else [])

    def resolve(self, node: ast.expr) -> set[Ref] | None:
        """The groups that an expression can stand for; None if it is, or may be, something else."""
        if isinstance(node, ast.Name):
            return self._refs.get(node.id)
        if isinstance(node, ast.Attribute):
            bases = self.resolve(node.value)
            if not bases:
                return None
            steps = [self.step(base, node.attr) for base in bases]
            return {s for s in steps if s and not s.leaf} if all(s and not s.leaf for s in steps) else None
        return None

    def is_array(self, node: ast.expr) -> bool:
        """Whether an expression is, for certain, the array of a quantity."""
        if not isinstance(node, ast.Attribute):
            return False
        bases = self.resolve(node.value)
        steps = [self.step(base, node.attr) for base in bases] if bases else []
        return bool(steps) and all(s is not None and s.leaf for s in steps)

    def step(self, ref: Ref, name: str) -> Ref | None:
        """The place that attribute `name` leads to, or None."""
        if name == "previous" and not ref.path:
            return None if ref.previous else Ref("", previous=True)
        path = f"{ref.path}.{name}" if ref.path else name
        if path in self._names:
            return Ref(path, ref.previous, leaf=True)
        return Ref(path, ref.previous) if path in self.schema.groups else None

    def known(self, ref: Ref) -> set[str]:
        """The attributes that exist at a place."""
        prefix = f"{ref.path}." if ref.path else ""
        names = {n[len(prefix) :].partition(".")[0] for n in self._names if n.startswith(prefix)}
        return names | ({"previous"} if not ref.path and not ref.previous else set())


def stored_names(target: ast.expr) -> set[str]:
    """Names that an assignment to `target` binds."""
    return {n.id for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def called_names(tree: ast.AST, *, arguments: bool = False) -> set[str]:
    """Names that are called; with `arguments`, also the names handed to a call (`key=helper`)."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        parts = [node.func, *node.args, *(k.value for k in node.keywords)] if arguments else [node.func]
        found |= {part.id for part in parts if isinstance(part, ast.Name)}
    return found


def root_name(node: ast.expr) -> str | None:
    """The name at the left end of a chain of attributes, subscripts and calls."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None
