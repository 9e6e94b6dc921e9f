"""Which names and attributes a reward program uses, and whether each is on a list.

Dotted chains that start at the world parameter must be paths of the schema. Groups may be given a local
name (`ee = world.gripper`), and such names are followed. Anything else (a parameter of a helper, a loop
variable, a result) may show the attributes of arrays and the components of schema paths, never more.
"""

from __future__ import annotations

import ast
import builtins
import math
from dataclasses import dataclass

import numpy as np

from embodied.core.errors import did_you_mean
from embodied.core.quantities import Schema
from embodied.sandbox import allow_list
from embodied.sandbox.scopes import Ref, Scope, called_names, root_name, stored_names

BUILTIN_NAMES = frozenset(dir(builtins))


@dataclass(frozen=True)
class Problem:
    """One reason to reject a program; `line` is 1-based, or None where no line applies."""

    message: str
    line: int | None

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


class NameChecker:
    """Checks names, attributes and calls in expressions, and the targets of assignments."""

    def __init__(self, tree: ast.Module, schema: Schema, entry: ast.FunctionDef) -> None:
        self.tree, self.schema = tree, schema
        self.problems: list[Problem] = []
        self.reads: set[str] = set()
        self.functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.modules: dict[str, str] = {"np": "numpy", "math": "math"}
        self.imported: set[str] = set()
        self.called = called_names(tree)
        self.globals: set[str] = set()
        arguments = [*entry.args.posonlyargs, *entry.args.args]
        self.world_name = arguments[0].arg if arguments else "world"
        components = {part for name in schema.names for part in name.split(".")}
        # A component such as `base` must not open the array attribute of the same name.
        self.components = {c for c in components if not hasattr(np.ndarray, c)} | {"time", "previous"}
        self.scope = Scope(schema)

    def _report(self, message: str, node: ast.AST) -> None:
        self.problems.append(Problem(message, getattr(node, "lineno", None)))

    def _target(self, node: ast.expr) -> None:
        match node:
            case ast.Name(id=name):
                self._free_name(name, node)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                for element in elements:
                    self._target(element)
            case ast.Attribute():
                self._report(
                    f"attribute '{node.attr}' cannot be set: the world and all values are read-only;"
                    " use a local variable",
                    node,
                )
            case ast.Subscript(value=value, slice=index):
                if root_name(value) == self.world_name:
                    name = ast.unparse(value)[:80]
                    self._report(f"'{name}' cannot be written: the world is read-only; use a copy", node)
                else:
                    self._expression(value)
                self._expression(index)

    def _free_name(self, name: str, node: ast.AST, *, importing: bool = False) -> None:
        """A name that is about to be bound: it must not replace a trusted one."""
        taken = name in self.functions or (name in BUILTIN_NAMES and name in self.called)
        if not importing:
            taken = taken or name in self.modules or name in self.imported
        if taken or name.startswith("__"):
            self._report(f"the name '{name}' is taken; use another name for the variable", node)

    # ---- expressions

    def _expression(self, node: ast.AST) -> None:
        match node:
            case ast.Name(id=name):
                self._load(name, node)
            case ast.Attribute():
                self._attribute(node, called=False)
            case ast.Call():
                self._call(node)
            case ast.Constant(value=value):
                self._literal(value, node)
            case ast.BinOp(op=ast.Pow()):
                self._power(node)
                self._children(node)
            case ast.comprehension(target=target, iter=iterable, ifs=conditions):
                if stored_names(target) & BUILTIN_NAMES:
                    self._report("a comprehension's variable may not have the name of a builtin", target)
                self._target(target)
                for inner in [iterable, *conditions]:
                    self._expression(inner)
            case _:
                self._children(node)

    def _children(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            self._expression(child)

    def _load(self, name: str, node: ast.expr) -> None:
        if name.startswith("__"):
            self._report(f"the name '{name}' is not allowed", node)
        elif self._module_of(node) is not None:
            self._report(f"the module '{name}' is not a value; use one of its functions", node)
        elif name in self.scope.bound or name in self.globals or name in self.functions | self.imported:
            return
        elif name in BUILTIN_NAMES and name not in allow_list.BUILTINS:
            known = ", ".join(sorted(allow_list.BUILTINS))
            self._report(f"the builtin '{name}' is not allowed. Allowed builtins: {known}", node)

    def _literal(self, value: object, node: ast.AST) -> None:
        if isinstance(value, bytes | complex):
            self._report(f"a {type(value).__name__} literal is not allowed", node)
        elif isinstance(value, int) and abs(value) > allow_list.MAX_INT:
            self._report(f"an integer literal above {allow_list.MAX_INT} is not allowed; use a float", node)

    def _power(self, node: ast.BinOp) -> None:
        if any(isinstance(n, ast.BinOp) and isinstance(n.op, ast.Pow) for n in ast.walk(node.right)):
            self._report("a power inside an exponent is not allowed; compute it in steps of floats", node)
            return
        base, exponent = _integer(node.left), _integer(node.right)
        if base and exponent and math.log2(abs(base) + 1) * abs(exponent) > allow_list.MAX_POWER_BITS:
            self._report("the power of these integers is too large; use floats", node)

    def _attribute(self, node: ast.Attribute, *, called: bool) -> None:
        name = node.attr
        module = self._module_of(node.value)
        if name.startswith("_"):
            self._report(f"attribute '{name}' is not allowed: names that start with '_' are private", node)
        elif self._module_of(node) is not None:
            self._report(f"the module '{self._module_of(node)}' is not a value; use one of its functions", node)
        elif module is not None:
            self._module_attribute(module, node)
        else:
            refs = self.scope.resolve(node.value)
            if refs:
                self._world_attribute(refs, node, called=called)
            else:
                before = len(self.problems)
                self._expression(node.value)
                if len(self.problems) == before:
                    self._value_attribute(node, called=called, array=self.scope.is_array(node.value))

    def _module_of(self, node: ast.expr) -> str | None:
        """`numpy`, `math` or `numpy.linalg` if the expression is that module."""
        if isinstance(node, ast.Name) and node.id in self.modules and node.id not in self.scope.bound:
            return self.modules[node.id]
        if isinstance(node, ast.Attribute) and self._module_of(node.value) == "numpy" and node.attr == "linalg":
            return "numpy.linalg"
        return None

    def _module_attribute(self, module: str, node: ast.Attribute) -> None:
        known = allow_list.MODULES[module]
        if node.attr not in known:
            close = did_you_mean(node.attr, known)
            self._report(
                f"'{module}.{node.attr}' is not allowed.{close} {_alternative(module, node.attr)}".strip(),
                node,
            )

    def _world_attribute(self, refs: set[Ref], node: ast.Attribute, *, called: bool) -> None:
        found = {child for ref in refs for child in [self.scope.step(ref, node.attr)] if child is not None}
        self.reads |= {self.schema[child.path].path for child in found if child.leaf}
        if found and called:
            self._report(f"'{ast.unparse(node)[:80]}' is a value, not a function: read it without ()", node)
        if found:
            return
        known = sorted({name for ref in refs for name in self.scope.known(ref)})
        where = sorted(ref.path or self.world_name for ref in refs)[0]
        owner = "the world" if where == self.world_name else f"'{where}'"
        if node.attr == "previous":
            self._report("'previous' belongs to the world itself and goes one step back only", node)
            return
        self._report(
            f"{owner} has no attribute '{node.attr}'.{did_you_mean(node.attr, known)} Known: {', '.join(known)}",
            node,
        )

    def _value_attribute(self, node: ast.Attribute, *, called: bool, array: bool) -> None:
        methods, data = allow_list.ARRAY_METHODS, allow_list.ARRAY_DATA
        every = methods if array else methods | allow_list.READERS | allow_list.MUTATORS
        valid = every if called else data if array else data | self.components
        if node.attr in valid:
            return
        if node.attr in every:
            self._report(f"'{node.attr}' is a method: call it, as in '.{node.attr}()'", node)
            return
        known = every | data if array else every | data | self.components
        shown = ", ".join(sorted(methods | data if array or called else data | self.components))
        self._report(
            f"attribute '{node.attr}' is not allowed.{did_you_mean(node.attr, known)} Allowed here: {shown}",
            node,
        )

    # ---- calls

    def _call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Name(id=name):
                self._call_name(name, node)
            case ast.Attribute():
                self._attribute(node.func, called=True)
            case _:
                self._report("only functions and methods that are named can be called", node)
                self._expression(node.func)
        for keyword in node.keywords:
            if keyword.arg is None:
                self._report("'**' in a call is not allowed; name the arguments", node)
            self._expression(keyword.value)
        for argument in node.args:
            self._expression(argument)

    def _call_name(self, name: str, node: ast.Call) -> None:
        if name in self.scope.bound or name in self.globals:
            self._report(f"'{name}' is a variable, not a function; only functions can be called", node)
        elif name in self.functions or name in self.imported:
            return
        elif name in BUILTIN_NAMES - allow_list.BUILTINS:
            extra = "A reward prints nothing: return what you want to see as a term." if name == "print" else ""
            allowed = f"Allowed builtins: {', '.join(sorted(allow_list.BUILTINS))}"
            self._report(f"the builtin '{name}' is not allowed. {extra or allowed}", node)
        elif name not in allow_list.BUILTINS:
            known = self.functions | self.imported | allow_list.BUILTINS
            self._report(f"the function '{name}' is not defined.{did_you_mean(name, known)}", node)
        elif name == "range":
            for argument in node.args:
                bound = _integer(argument)
                if bound is not None and abs(bound) > allow_list.MAX_RANGE:
                    self._report(f"range({bound}) is too long; the limit is {allow_list.MAX_RANGE}", node)


def _integer(node: ast.expr) -> int | None:
    """The value of an integer literal or of one with a sign; 2**40 stands for a product of literals."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
        return _integer(node.operand)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Pow):
        left, right = _integer(node.left), _integer(node.right)
        if left is not None and right is not None:
            return min(abs(left), 2**40) ** min(abs(right), 40) if isinstance(node.op, ast.Pow) else left * right
    return None


def _alternative(module: str, name: str) -> str:
    if name == "random" or name in {"rand", "randn", "default_rng"}:
        return "A reward is a function of the world and the action: no random numbers."
    if module == "numpy.linalg":
        return f"Allowed: {', '.join(sorted(allow_list.NUMPY_LINALG))}."
    return "Use another function of numpy or math."
