"""Takes the code out of an answer, unchanged, or says why there is none.

The rules, in order:

1. An answer that was cut off (`finish_reason` `length`) or refused (`content_filter`) gives no code.
2. What stands before the last `</think>` is a draft and is not looked at.
3. Blocks fenced as Python (```` ```python ````, `py`, `python3`) come first; without any, blocks without a
   language that look like Python; without any fence, the whole text if it parses and defines a function.
4. Of several blocks, the one that defines an entry point (`reward`, `compute_dense_reward`) is taken. Two
   *different* blocks that both define one are a conflict, never a guess. If none defines an entry point: the
   first Python block, or the longest of the blocks without a language.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from embodied.core.errors import RewardCodeError

PYTHON = ("python", "python3", "py", "py3")
ENTRIES = ("reward", "compute_dense_reward")
MAX_CHARS = 200_000
ONE_BLOCK = "Answer with exactly one ```python block that holds the whole program"

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})(.*)", re.DOTALL)


class NoCodeError(RewardCodeError):
    """An answer holds no usable code.

    Attributes:
        kind: `empty`, `truncated`, `refused`, `too_long`, `prose`, `language` or `conflict`.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type[NoCodeError], tuple[str, str]]:
        """Lets the error cross a process boundary."""
        return type(self), (self.kind, self.message)


@dataclass(frozen=True)
class Block:
    """A fenced block: language tag, first line in the answer (from 1), text, whether it was closed."""

    language: str
    line: int
    text: str
    closed: bool


def extract_code(text: str, finish_reason: str = "stop", entries: Sequence[str] = ENTRIES) -> str:
    """Returns the program of an answer: always a verbatim part of `text`.

    Args:
        text: the answer.
        finish_reason: why the model ended.
        entries: names of functions that mark the program among several blocks.

    Raises:
        NoCodeError: no code, or no way to tell which code is meant. The text can be shown to the model.
    """
    _check_whole(text, finish_reason)
    start = text.rfind("</think>") + len("</think>") if "</think>" in text else 0
    skipped_lines, text = text.count("\n", 0, start), text[start:]
    blocks = [b for b in fenced_blocks(text, skipped_lines) if b.text.strip()]
    tagged = [b for b in blocks if b.language in PYTHON]
    if tagged:
        return _choose(tagged, entries, first=True)
    plain = [b for b in blocks if not b.language and _looks_like_python(b.text)]
    if plain:
        return _choose(plain, entries, first=False)
    if not blocks and _defines_function(text):
        return text.strip("\r\n")
    raise _explain(blocks)


def _check_whole(text: str, finish_reason: str) -> None:
    if finish_reason == "length":
        raise NoCodeError(
            "truncated", f"the answer was cut off at its token limit. {ONE_BLOCK}, and be shorter"
        )
    if finish_reason == "content_filter":
        raise NoCodeError(
            "refused", "the model refused or its answer was filtered; put the request in other words"
        )
    if not text.strip():
        raise NoCodeError("empty", f"the answer is empty. {ONE_BLOCK}")
    if len(text) > MAX_CHARS:
        raise NoCodeError(
            "too_long", f"the answer has {len(text)} characters, more than {MAX_CHARS}. {ONE_BLOCK}"
        )


def fenced_blocks(text: str, skipped_lines: int = 0) -> list[Block]:
    """All fenced blocks of a Markdown text; a fence that is never closed runs to the end."""
    blocks: list[Block] = []
    fence, language, start, line, position = "", "", 0, 0, 0
    for number, row in enumerate(text.split("\n"), start=skipped_lines + 1):
        following = min(position + len(row) + 1, len(text))
        match = _FENCE.match(row)
        tag = match[2].strip() if match else ""
        if (
            match and not fence and not (match[1][0] == "`" and "`" in tag)
        ):  # ```code``` within a line is no fence
            fence, start, line = match[1], following, number
            language = re.split(r"[\s,;:{}]+", tag.strip("{}. ").lower(), maxsplit=1)[0]
        elif match and fence and match[1][0] == fence[0] and len(match[1]) >= len(fence) and not tag:
            blocks.append(Block(language, line, text[start:position], True))
            fence = ""
        position = following
    if fence:
        blocks.append(Block(language, line, text[start:], False))
    return blocks


def _choose(blocks: list[Block], entries: Sequence[str], first: bool) -> str:
    program = re.compile(
        rf"^(?:async[ \t]+)?def[ \t]+(?:{'|'.join(map(re.escape, entries))})\b", re.MULTILINE
    )
    found = [b for b in blocks if entries and program.search(b.text)]
    different = {b.text.strip() for b in found}
    if len(different) > 1:
        lines = ", ".join(str(b.line) for b in found)
        raise NoCodeError(
            "conflict",
            f"{len(found)} different blocks (lines {lines} of the answer) define the program. {ONE_BLOCK}",
        )
    block = found[0] if found else blocks[0] if first else max(blocks, key=lambda b: len(b.text))
    if not block.closed and not _parses(block.text):
        raise NoCodeError(
            "truncated",
            f"the block at line {block.line} of the answer never ends and is no whole program. {ONE_BLOCK}",
        )
    return block.text


def _explain(blocks: list[Block]) -> NoCodeError:
    other = [b for b in blocks if b.language]
    if other:
        named = ", ".join(f"{b.language!r} (line {b.line} of the answer)" for b in other[:5])
        return NoCodeError("language", f"the only code is in {named}; Python is needed. {ONE_BLOCK}")
    return NoCodeError("prose", f"the answer holds text but no Python code. {ONE_BLOCK}")


def _looks_like_python(text: str) -> bool:
    return _parses(text) or re.search(r"^[ \t]*def[ \t]+\w+[ \t]*\(", text, re.MULTILINE) is not None


def _defines_function(text: str) -> bool:
    tree = _tree(text.strip("\r\n"))
    return tree is not None and any(isinstance(node, ast.FunctionDef) for node in tree.body)


def _parses(text: str) -> bool:
    return _tree(text) is not None


def _tree(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # '\d' in a string is the program's affair, not a warning of ours
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
