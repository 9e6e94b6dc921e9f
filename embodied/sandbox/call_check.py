"""The static check for scripts that only call a given set of functions (the motion APIs).

As with reward programs, the lock is the boundary; this check turns mistakes into messages with line numbers for the
model that wrote the script.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection

from embodied.core.errors import RewardCodeError
from embodied.sandbox import allow_list
from embodied.sandbox.names import Problem
from embodied.sandbox.static_check import parse

_ALLOWED = tuple(t for t in allow_list.NODES if t not in (ast.FunctionDef, ast.Return, ast.Attribute))
_MODULES = {"np": allow_list.NUMPY, "numpy": allow_list.NUMPY, "math": allow_list.MATH}


def check_calls(source: str | bytes, functions: Collection[str]) -> ast.Module:
    """Parses a script of plain statements that calls `functions`, numpy and math.

    Raises:
        RewardCodeError: anything else, with its line and what would be valid.
    """
    tree = parse(source)
    if isinstance(tree, Problem):
        raise RewardCodeError(tree.message, tree.line)
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    known = {*functions, *stored, *allow_list.BUILTINS, *_MODULES, "True", "False", "None"}
    for count, node in enumerate(ast.walk(tree)):
        line = getattr(node, "lineno", None)
        if count > allow_list.MAX_NODES:
            raise RewardCodeError(f"more than {allow_list.MAX_NODES} syntax elements; write a shorter script")
        if isinstance(node, ast.Attribute):
            _check_attribute(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if not set(names) <= {"numpy", "math"}:
                raise RewardCodeError("only numpy and math may be imported", line)
        elif not isinstance(node, _ALLOWED):
            message = allow_list.REMEDIES.get(type(node), f"'{type(node).__name__}' is not allowed; call the functions")
            raise RewardCodeError(message.replace("reward code", "this script"), line)
        if isinstance(node, ast.Name) and node.id in functions and isinstance(node.ctx, ast.Store):
            raise RewardCodeError(f"'{node.id}' is one of the given functions; choose another name", line)
        if isinstance(node, ast.Name) and node.id not in known:
            near = difflib.get_close_matches(node.id, known, 1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise RewardCodeError(f"unknown name '{node.id}'.{hint} Functions: {', '.join(sorted(functions))}", line)
    return tree


def _check_attribute(node: ast.Attribute) -> None:
    module = node.value.id if isinstance(node.value, ast.Name) else ""
    if node.attr not in _MODULES.get(module, ()):
        raise RewardCodeError(
            f"'.{node.attr}' is not allowed; attributes are those of np and math, such as np.pi", node.lineno
        )
