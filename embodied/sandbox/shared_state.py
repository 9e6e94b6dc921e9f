"""No hidden memory: a program may read its module constants but never write into them.

A reward that remembers earlier calls gives other values batched than row by row, and other values when it
is planned with. The constants of a module outlive a call, so a store into a list, dict or array that may be
one of them is rejected; local names and parameters through which one can be reached are followed.
"""

from __future__ import annotations

import ast

from embodied.sandbox import allow_list
from embodied.sandbox.names import Problem
from embodied.sandbox.scopes import root_name, stored_names

_FRESH_METHODS = {"copy", "tolist", "item", "sum", "mean", "max", "min", "astype", "flatten"}


def shared_state_problems(tree: ast.Module) -> list[Problem]:
    """Problems of all stores into something that may live longer than one call."""
    shared = {
        name
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and not _immutable(node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for name in stored_names(target)
    }
    if not shared:
        return []
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    tainted: dict[str, set[str]] = {name: set() for name in functions}
    for _ in range(2 + len(functions)):
        before = {name: set(found) for name, found in tainted.items()}
        for function in functions.values():
            _spread(function, shared, tainted, functions)
        if before == tainted:
            break
    return [p for name, function in functions.items() for p in _stores(function, shared, tainted[name])]


def _immutable(node: ast.expr) -> bool:
    return not any(isinstance(part, ast.List | ast.Dict | ast.Set | ast.Call | ast.Name) for part in ast.walk(node))


def _locals(function: ast.FunctionDef) -> set[str]:
    arguments = function.args
    names = {a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
    return names.union(*(stored_names(n) for n in ast.walk(function) if isinstance(n, ast.Name)))


def _reaches(node: ast.expr, names: set[str]) -> bool:
    """Whether the value of an expression may be, or be a part of, what one of the names stands for."""
    match node:
        case ast.Name(id=name):
            return name in names
        case ast.Attribute(value=value) | ast.Subscript(value=value):
            return _reaches(value, names)
        case ast.IfExp(body=body, orelse=orelse):
            return _reaches(body, names) or _reaches(orelse, names)
        case ast.BoolOp(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
            return any(_reaches(part, names) for part in parts)
        case ast.Dict(values=parts):
            return any(_reaches(part, names) for part in parts)
        case ast.Call(func=ast.Attribute(value=value, attr=attr), args=arguments):
            if attr in _FRESH_METHODS or attr == "array":
                return False
            return _reaches(value, names) or any(_reaches(a, names) for a in arguments)
        case ast.Call(func=ast.Name(id=name), args=arguments) if name not in allow_list.BUILTINS or name in {
            "max", "min", "zip", "enumerate", "reversed"
        }:  # fmt: skip
            return any(_reaches(a, names) for a in arguments)
    return False


def _spread(
    function: ast.FunctionDef,
    shared: set[str],
    tainted: dict[str, set[str]],
    functions: dict[str, ast.FunctionDef],
) -> None:
    """Adds the local names of `function`, and the parameters of what it calls, that may reach a constant."""
    mine = tainted[function.name]
    names = (shared - _locals(function)) | mine
    for node in ast.walk(function):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            value, targets = node.value, node.targets
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            value, targets = node.value, [node.target]
        elif isinstance(node, ast.For | ast.comprehension):
            value, targets = node.iter, [node.target]
        if targets and _reaches(value, names):
            mine.update(*(stored_names(target) for target in targets))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
            callee = functions[node.func.id].args
            positional = [a.arg for a in [*callee.posonlyargs, *callee.args]]
            given = [
                *zip(positional, node.args, strict=False),
                *((k.arg or "", k.value) for k in node.keywords),
            ]
            tainted[node.func.id] |= {name for name, value in given if _reaches(value, names)}


def _stores(function: ast.FunctionDef, shared: set[str], tainted: set[str]) -> list[Problem]:
    names = (shared - _locals(function)) | tainted
    found = []
    for node in ast.walk(function):
        root = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            root = root_name(node)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in allow_list.MUTATORS:
                root = root_name(node.func)
            root = next((root_name(k.value) for k in node.keywords if k.arg == "out"), root)
        if root is not None and root in names:
            found.append(
                Problem(
                    f"'{root}' is, or comes from, a module constant and may not be changed: a reward keeps"
                    " no memory between calls. Change a copy, or use world.previous",
                    node.lineno,
                )
            )
    return found
