"""Taking code out of answers."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.core.errors import RewardCodeError
from embodied.llm.extract import NoCodeError, extract_code

CODE = "def reward(world, action):\n    return {'a': world.time}\n"
OTHER = CODE.replace("'a'", "'b'")
FENCE = "```"


def fenced(code: str, tag: str = "python", fence: str = FENCE) -> str:
    return f"{fence}{tag}\n{code}{fence}\n"


@pytest.mark.parametrize(
    "answer",
    [
        fenced(CODE),
        "Sure!\n\n" + fenced(CODE) + "\nThat is it.",
        fenced(CODE, "py"),
        fenced(CODE, "Python3"),
        fenced(CODE, "python title=reward.py"),
        fenced(CODE, "{.python}"),
        fenced(CODE, " python "),
        fenced(CODE, fence="~~~"),
        fenced(CODE, fence="`````"),
        fenced(CODE, ""),
        fenced('{"a": 1}\n', "json") + fenced(CODE),
        fenced("pip install x\n", "bash") + fenced(CODE, ""),
        fenced("print('example')\n") + fenced(CODE),
        fenced(CODE) + fenced("reward(world, None)\n"),
        fenced(CODE) + "again:\n" + fenced(CODE),
        f"<think>\n{fenced(OTHER)}</think>\n{fenced(CODE)}",
        f"{FENCE}python\n{CODE}",
        "some `inline` and ```inline``` code\n" + fenced(CODE),
        CODE,
        f"\n\n{CODE}",
    ],
)
def test_the_program_is_found(answer):
    assert extract_code(answer).strip("\n") == CODE.strip("\n")


def test_the_text_is_never_edited():
    code = "def reward(world, action):  \r\n\treturn {'x': '``` \\d \u2028'}   \r\n\r\n"
    assert extract_code(f"a\r\n```python\r\n{code}```\r\nb") == code
    wrong = "def reward(world, action:\n    return }\n"
    assert extract_code(fenced(wrong)) == wrong  # a syntax error is for the check to explain


def test_a_fence_inside_a_longer_fence_is_text():
    code = 'def reward(world, action):\n    """\n```\n"""\n    return {}\n'
    assert extract_code(fenced(code, fence="````")) == code


def test_without_an_entry_the_first_python_or_the_longest_plain_block_counts():
    assert extract_code(fenced("a = 1\n") + fenced("bb = 22\n")) == "a = 1\n"
    assert extract_code(fenced("a = 1\n", "") + fenced("bb = 22\n", "")) == "bb = 22\n"
    assert extract_code(fenced(CODE) + fenced("def plan():\n    pass\n"), entries=["plan"]).startswith(
        "def plan"
    )


@pytest.mark.parametrize(
    ("answer", "reason", "kind", "text"),
    [
        ("", "stop", "empty", "empty"),
        (" \n\t", "stop", "empty", "empty"),
        (fenced(CODE), "length", "truncated", "cut off"),
        ("I cannot", "content_filter", "refused", "refused"),
        ("To open the drawer, move the hand.", "stop", "prose", "no Python code"),
        ("x = 1", "stop", "prose", "no Python code"),
        (fenced('{"a": 1}\n', "json"), "stop", "language", "'json' (line 1"),
        ("text\n" + fenced("int main() {}\n", "cpp"), "stop", "language", "'cpp' (line 2"),
        (fenced("just words here\n", ""), "stop", "prose", "no Python code"),
        (fenced(CODE) + fenced(OTHER), "stop", "conflict", "lines 1, 5"),
        (f"<think>\n\n</think>\n{fenced(CODE)}{fenced(OTHER)}", "stop", "conflict", "lines 4, 8"),
        (f"{FENCE}python\ndef reward(world, acti", "stop", "truncated", "never ends"),
        ("x" * 200_001, "stop", "too_long", "200001"),
        (fenced("\n"), "stop", "prose", "no Python code"),
    ],
)
def test_every_failure_is_explained(answer, reason, kind, text):
    with pytest.raises(NoCodeError) as caught:
        extract_code(answer, reason)
    assert isinstance(caught.value, RewardCodeError)
    assert caught.value.kind == kind
    assert text in str(caught.value)


PARTS = st.sampled_from(
    [
        "```",
        "````",
        "~~~",
        "```python\n",
        "```json\n",
        "\n",
        "\r\n",
        " ",
        "def reward(w, a):\n",
        "    return {}\n",
        "</think>",
    ]
) | st.text(max_size=12)


@given(
    st.lists(PARTS, max_size=25).map("".join), st.sampled_from(["stop", "length", "content_filter", "tool"])
)
def test_any_text_gives_a_verbatim_part_or_our_error(text, reason):
    try:
        code = extract_code(text, reason)
    except NoCodeError:
        return
    assert code in text
    assert code.strip()


@pytest.mark.parametrize(
    "text",
    [
        "```" + " " * 150_000 + "`",
        "`" * 190_000,
        "```\n" * 45_000,
        "(" * 100_000,
        "```python\n" + "(" * 100_000,
        "```\n" + "-" * 50_000 + "1\n```",
        "def " * 40_000,
        "\x00def f(): pass",
        "```\ndef f():\x00 pass\n```",
        "\ud800",
    ],
)
def test_hostile_texts_end_soon(text):
    began = time.monotonic()
    with contextlib.suppress(NoCodeError):
        assert extract_code(text) in text
    assert time.monotonic() - began < 5
