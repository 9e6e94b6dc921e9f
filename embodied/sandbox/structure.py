"""The structure of a reward program: what may stand at module level, in functions and in annotations."""

from __future__ import annotations

import ast

from embodied.sandbox import allow_list
from embodied.sandbox.names import BUILTIN_NAMES, NameChecker, Problem
from embodied.sandbox.scopes import Scope, called_names, stored_names


class ProgramChecker(NameChecker):
    """Checks one parsed program, whose node types are known to be allowed."""

    def run(self) -> list[Problem]:
        """All problems found."""
        for statement in self.tree.body:
            self._module_statement(statement)
        for statement in self.tree.body:
            if isinstance(statement, ast.FunctionDef):
                self._function(statement)
        self._recursion()
        return self.problems

    def _module_statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                self._target(target)
                self.globals |= stored_names(target)
            if isinstance(node, ast.AnnAssign):
                self._annotation(node.annotation)
            if node.value is not None:
                self._constant(node.value)
        elif isinstance(node, ast.FunctionDef):
            if node.name in self.modules or node.name in BUILTIN_NAMES or node.name.startswith("__"):
                self._report(f"a function may not be called '{node.name}': the name is taken", node)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            self._report("at module level only functions, imports and constants are allowed", node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        valid = "allowed are 'import numpy as np' and 'import math'"
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name not in ("numpy", "math"):
                    self._report(f"import of '{alias.name}' is not allowed; {valid}", node)
                    continue
                self._free_name(alias.asname or alias.name, node, importing=True)
                self.modules[alias.asname or alias.name] = alias.name
            return
        for alias in node.names:
            name = alias.asname or alias.name
            if node.level or node.module not in {*allow_list.MODULES, *allow_list.TYPE_MODULES}:
                self._report(f"import from '{'.' * node.level}{node.module or ''}' is not allowed; {valid}", node)
                return
            if node.module == "__future__":
                if alias.name != "annotations":
                    self._report(f"import of '{alias.name}' is not allowed; {valid}", node)
            elif alias.name not in allow_list.MODULES.get(node.module, allow_list.TYPING):
                self._report(f"import of '{node.module}.{alias.name}' is not allowed; {valid}", node)
            elif f"{node.module}.{alias.name}" == "numpy.linalg":
                self._free_name(name, node, importing=True)
                self.modules[name] = "numpy.linalg"
            else:
                self._free_name(name, node, importing=True)
                self.imported.add(name)

    def _constant(self, value: ast.expr) -> None:
        for node in ast.walk(value):
            if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
                self._report("a module constant must be a literal, without a comprehension", node)
                return
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self.functions:
                self._report("a module constant must be a literal, without a call of the program's functions", node)
                return
        self._expression(value)

    def _function(self, node: ast.FunctionDef) -> None:
        for decorator in node.decorator_list:
            self._report("decorators are not allowed", decorator)
        arguments = node.args
        if arguments.vararg or arguments.kwarg:
            self._report("'*' and '**' parameters are not allowed; name the parameters", node)
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        for default in [*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None)]:
            if not _is_immutable_literal(default):
                self._report("a parameter's default must be a number, a string, None or a tuple of these", default)
        for argument in every:
            self._free_name(argument.arg, argument)
            self._annotation(argument.annotation)
        self._annotation(node.returns)
        self.scope = Scope(self.schema)
        self.scope.enter(node, {a.arg for a in every}, self.world_name)
        for statement in node.body:
            self._statement(statement)
        self.scope = Scope(self.schema)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.FunctionDef():
                self._report("a function inside a function is not allowed; define it at module level", node)
            case ast.Import() | ast.ImportFrom():
                self._import(node)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._target(target)
                self._expression(value)
            case ast.AugAssign(target=target, value=value):
                self._target(target)
                self._expression(value)
            case ast.AnnAssign(target=target, annotation=annotation, value=value):
                self._target(target)
                self._annotation(annotation)
                if value is not None:
                    self._expression(value)
            case ast.For(target=target, iter=iterable, body=body, orelse=orelse):
                self._target(target)
                self._expression(iterable)
                for inner in [*body, *orelse]:
                    self._statement(inner)
            case ast.If(test=test, body=body, orelse=orelse):
                self._expression(test)
                for inner in [*body, *orelse]:
                    self._statement(inner)
            case ast.Return(value=value) | ast.Expr(value=value):
                if value is not None:
                    self._expression(value)

    def _annotation(self, node: ast.expr | None) -> None:
        """Types may be named freely, but an annotation may do nothing: no call, no private attribute."""
        for part in ast.walk(node) if node is not None else ():
            if isinstance(part, ast.Attribute):
                bad = part.attr not in allow_list.NUMPY_TYPES | allow_list.TYPING
            elif isinstance(part, ast.Name):
                bad = part.id.startswith("__")
            else:
                plain = ast.Constant | ast.Subscript | ast.Tuple | ast.List | ast.BinOp | ast.BitOr | ast.Load
                bad = not isinstance(part, plain)
            if bad:
                self._report("this annotation is not allowed; use a plain type such as 'np.ndarray', or none", part)
                return

    def _recursion(self) -> None:
        edges = {
            node.name: called_names(node, arguments=True) & self.functions
            for node in self.tree.body
            if isinstance(node, ast.FunctionDef)
        }
        for node in self.tree.body:
            if not isinstance(node, ast.FunctionDef):
                continue
            seen: set[str] = set()
            todo = set(edges[node.name])
            while todo:
                name = todo.pop()
                seen.add(name)
                todo |= edges[name] - seen
            if node.name in seen:
                self._report(f"the function '{node.name}' calls itself; recursion is not allowed", node)


def _is_immutable_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return all(_is_immutable_literal(element) for element in node.elts)
    if isinstance(node, ast.UnaryOp):
        return _is_immutable_literal(node.operand)
    return isinstance(node, ast.Constant)
