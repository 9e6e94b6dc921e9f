"""Text as safe HTML: escaping, Python code with light colouring, tables of settings."""

from __future__ import annotations

import html
import io
import keyword
import tokenize
from collections.abc import Mapping, Sequence
from typing import Any


def escape(text: object) -> str:
    """Text as an HTML text node or attribute: escaped, with invisible and direction-changing characters
    shown.

    Terminal escapes, bidirectional overrides and lone surrogates of model-written text become visible marks.
    """
    shown = []
    for character in str(text):
        code = ord(character)
        if code < 32 and character not in "\n\t":
            shown.append(chr(0x2400 + code))
        elif code == 127:
            shown.append("\u2421")
        elif 128 <= code < 160 or 0xD800 <= code < 0xE000 or code in _INVISIBLE:
            shown.append(f"\u27e6U+{code:04X}\u27e7")
        else:
            shown.append(character)
    return html.escape("".join(shown), quote=True)


_INVISIBLE = {0x061C, 0xFEFF, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070)}


def highlight(source: str) -> str:
    """Python text as HTML lines with light colouring; text that is no Python comes out plain."""
    text = source.replace("\r\n", "\n").rstrip("\n")
    lines = text.split("\n")
    marks: list[list[tuple[int, int, str]]] = [[] for _ in lines]
    try:
        after_def = False
        for token in tokenize.generate_tokens(io.StringIO(text + "\n", newline="\n").readline):
            kind = _token_class(token, after_def)
            after_def = token.type == tokenize.NAME and token.string in ("def", "class")
            (row, start), (last, stop) = token.start, token.end
            for line in range(row, last + 1) if kind else ():
                if line <= len(lines):
                    end = stop if line == last else len(lines[line - 1])
                    marks[line - 1].append((start if line == row else 0, end, kind))
    except (tokenize.TokenError, SyntaxError, ValueError):
        marks = [[] for _ in lines]
    return "".join(f'<span class="l">{_marked(line, mark)}\n</span>' for line, mark in zip(lines, marks, strict=True))


def _token_class(token: tokenize.TokenInfo, after_def: bool) -> str:
    if token.type == tokenize.NAME:
        return "d" if after_def else "k" if keyword.iskeyword(token.string) else ""
    if token.type == tokenize.COMMENT:
        return "m"
    if token.type == tokenize.NUMBER:
        return "n"
    return "s" if token.type == tokenize.STRING else ""


def _marked(line: str, marks: Sequence[tuple[int, int, str]]) -> str:
    out, at = [], 0
    for start, stop, kind in marks:
        if start >= at:
            out.append(f'{escape(line[at:start])}<span class="{kind}">{escape(line[start:stop])}</span>')
            at = stop
    return "".join(out) + escape(line[at:])


def pairs(values: Mapping[str, Any]) -> str:
    """A two-column table; nested mappings become dotted names."""
    rows = "".join(
        f'<tr><th>{escape(key)}</th><td class="mono">{escape(value)}</td></tr>' for key, value in _flat(values)
    )
    return f'<table class="pairs"><tbody>{rows}</tbody></table>'


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            out += _flat(value, f"{name}.") or [(name, "{}")]
        elif value is None or isinstance(value, bool):
            out.append((name, {None: "none", True: "yes", False: "no"}[value]))
        else:
            out.append((name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)))
    return out
