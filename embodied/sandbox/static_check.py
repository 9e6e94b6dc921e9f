"""The static check in front of the lock: mistakes and attacks become messages with line numbers.

`check_source` parses a program, never runs it, and allows only what is on a list: the node types, numpy,
math and builtin names of `allow_list`, and the readable paths of the task's `Schema`. It is written for the
language model that wrote the program: every message says what is wrong in which line and what would be
valid.

The check is not the boundary (the lock is). It is the only thing, though, that keeps a program from forging
the metrics of the process it runs in, so whatever is not known to be harmless is rejected. Faults that are
clearer when they happen (an undefined variable, an index out of range, a write into a read-only array) are
left to evaluation, which reports them with their line too.
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass

from embodied.core.errors import RewardCodeError
from embodied.core.quantities import Schema
from embodied.core.reward import BATCHED_ENTRY, PUBLISHED_ENTRY
from embodied.sandbox import allow_list
from embodied.sandbox.names import Problem
from embodied.sandbox.shared_state import shared_state_problems
from embodied.sandbox.structure import ProgramChecker

MAX_PROBLEMS = 8


@dataclass(frozen=True)
class CheckResult:
    """What the check says about one program.

    Attributes:
        ok: no problem was found.
        message: the first problem (by line), or an empty string.
        line: its 1-based line, or None where no line applies.
        problems: all problems found, at most eight, by line.
        entry: name of the entry function, or None.
        reads: quantity paths that the program reads directly (aliases resolved), in order of their names.
    """

    ok: bool
    message: str = ""
    line: int | None = None
    problems: tuple[Problem, ...] = ()
    entry: str | None = None
    reads: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems) or "ok"

    def raise_if_rejected(self) -> None:
        """Raises `RewardCodeError` with the first problem, its line, and the number of further problems."""
        if not self.ok:
            more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
            raise RewardCodeError(self.message + more, self.line)


def check_source(source: str | bytes, schema: Schema) -> CheckResult:
    """Checks a reward program without running it. Never raises, whatever the text is.

    Args:
        source: the program. Bytes are decoded as UTF-8, strictly.
        schema: the readable quantities of the task.
    """
    parsed = parse(source)
    if isinstance(parsed, Problem):
        return _rejected([parsed])
    problems = _limits(parsed) or [
        Problem(allow_list.REMEDIES.get(type(node), f"'{type(node).__name__}' is not allowed"), _line(node))
        for node in ast.walk(parsed)
        if not isinstance(node, allow_list.NODES)
    ]
    if problems:
        return _rejected(problems)
    functions = {node.name: node for node in parsed.body if isinstance(node, ast.FunctionDef)}
    entry = next((name for name in (BATCHED_ENTRY, PUBLISHED_ENTRY) if name in functions), None)
    if entry is None:
        named = f" The program defines: {', '.join(sorted(functions))}." if functions else ""
        return _rejected([Problem(f"no function 'reward(world, action)' at module level.{named}", None)])
    checker = ProgramChecker(parsed, schema, functions[entry])
    problems = [*checker.run(), *shared_state_problems(parsed)]
    if problems:
        return _rejected(problems, entry)
    return CheckResult(True, entry=entry, reads=tuple(sorted(checker.reads)))


def parse(source: str | bytes) -> ast.Module | Problem:
    """The syntax tree, or what keeps the text from being one."""
    if isinstance(source, bytes):
        try:
            source = source.decode("utf-8")
        except UnicodeDecodeError as error:
            line = source.count(b"\n", 0, error.start) + 1
            return Problem(f"the program is not valid UTF-8 (byte {error.start})", line)
    try:
        size = len(source.encode("utf-8"))
    except UnicodeEncodeError as error:
        return Problem("the program has a character that is not valid Unicode", _line_at(source, error.start))
    if size > allow_list.MAX_SOURCE_BYTES:
        return Problem(f"the program has {size} bytes; the limit is {allow_list.MAX_SOURCE_BYTES}", None)
    if "\0" in source:
        return Problem("the program has a NUL character", _line_at(source, source.index("\0")))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError as error:
        hint = " Answer with the code alone, without Markdown fences." if "```" in source else ""
        return Problem(f"not valid Python: {_printable(error.msg)}.{hint}", error.lineno)
    except (ValueError, MemoryError, RecursionError):
        return Problem("the program is nested too deeply for the parser, or has a literal it cannot read", None)


def _limits(tree: ast.Module) -> list[Problem]:
    level: list[ast.AST] = [tree]
    count = depth = 0
    while level:
        count += len(level)
        depth += 1
        if depth > allow_list.MAX_DEPTH:
            return [Problem(f"nested deeper than {allow_list.MAX_DEPTH} levels; use more statements", _line(level[0]))]
        if count > allow_list.MAX_NODES:
            return [Problem(f"more than {allow_list.MAX_NODES} syntax elements; write a shorter program", None)]
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return []


def _rejected(problems: list[Problem], entry: str | None = None) -> CheckResult:
    ordered = sorted(dict.fromkeys(problems), key=lambda p: p.line or 0)[:MAX_PROBLEMS]
    return CheckResult(False, ordered[0].message, ordered[0].line, tuple(ordered), entry)


def _line(node: ast.AST) -> int | None:
    return getattr(node, "lineno", None)


def _line_at(source: str, index: int) -> int:
    return source.count("\n", 0, index) + 1


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:200])
