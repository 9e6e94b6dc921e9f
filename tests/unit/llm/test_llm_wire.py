"""Parsing of server answers and the rules of retrying, without a network."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.core.chat import Usage
from embodied.llm.faults import backoff_s
from embodied.llm.wire import Answer, WireError, error_body, parse


def events(*values: object, end: str = "\n\n") -> bytes:
    return "".join(f"data: {v if isinstance(v, str) else json.dumps(v)}{end}" for v in values).encode()


def delta(text: str, index: int = 0, finish: str | None = None) -> dict:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}


@given(st.binary(max_size=400), st.booleans())
def test_arbitrary_bytes_give_an_answer_or_a_wire_error(data, stream):
    with contextlib.suppress(WireError):
        assert isinstance(parse(data, stream), Answer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "index", "delta", "message", "content", "usage", "error", "prompt_tokens"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def mostly(*good):
    """One of the good values, and now and then anything."""
    return st.sampled_from(good) | JSON


BODY = st.fixed_dictionaries({"content": mostly("text", None), "refusal": mostly(None, "no")})
NEARLY = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {"index": mostly(0, 1), "message": BODY, "delta": BODY, "finish_reason": mostly("stop")}
            ),
            min_size=1,
            max_size=2,
        ),
        "usage": st.fixed_dictionaries(
            {"prompt_tokens": mostly(5, -1, 2**70, True), "completion_tokens": mostly(0, 1.5)}
        ),
        "model": mostly("m"),
        "id": mostly("i"),
    }
)


@given(JSON | NEARLY, st.booleans())
@settings(max_examples=150)
def test_arbitrary_json_gives_an_answer_or_a_wire_error(value, stream):
    data = events(value, "[DONE]") if stream else json.dumps(value).encode()
    with contextlib.suppress(WireError):
        answer = parse(data, stream)
        assert answer.choices, "an answer without a choice is no answer"
        for index, choice in answer.choices.items():
            assert type(index) is int
            for said in (choice.text, choice.refusal, choice.finish_reason, answer.model, answer.id):
                assert said.encode("utf-8").decode() == said  # text that a file can hold
        for count in (answer.usage.prompt_tokens, answer.usage.completion_tokens):
            assert type(count) is int
            assert count >= 0


@given(
    st.text(max_size=60),
    st.lists(st.integers(1, 7), max_size=8),
    st.sampled_from(["\n\n", "\r\n\r\n", "\r\r"]),
)
def test_a_streamed_text_is_joined_verbatim(text, cuts, end):
    text = text.encode("utf-8", "replace").decode()
    pieces, rest = [], text
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    data = events(*(delta(p) for p in [*pieces, rest]), delta("", finish="stop"), "[DONE]", end=end)
    assert parse(data, True).choices[0].text == text


def test_comments_and_other_fields_of_a_stream_are_skipped():
    data = b": ping\n\nevent: x\nid: 3\n" + events(delta("hi", finish="stop"), "[DONE]")
    assert parse(data, True).choices[0].text == "hi"


def test_choices_are_kept_apart_and_usage_comes_last():
    last = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6}, "model": "m"}
    data = events(
        delta("a", 0), delta("b", 1), delta("c", 0, "stop"), delta("d", 1, "length"), last, "[DONE]"
    )
    answer = parse(data, True)
    assert [(c.text, c.finish_reason) for c in answer.choices.values()] == [("ac", "stop"), ("bd", "length")]
    assert (answer.usage, answer.model) == (Usage(5, 6), "m")


def test_a_stream_without_its_end_broke_off():
    with pytest.raises(WireError) as caught:
        parse(events(delta("def rew")), True)
    assert caught.value.broken_off


def test_half_a_surrogate_pair_does_not_enter():
    answer = parse(b'{"choices": [{"message": {"content": "a\\ud800b"}, "finish_reason": "stop"}]}', False)
    assert answer.choices[0].text == "a?b"


def test_content_in_parts():
    message = {"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]}
    assert parse(json.dumps({"choices": [{"message": message}]}).encode(), False).choices[0].text == "ab"


@pytest.mark.parametrize("depth", [500, 990, 5_000, 200_000])
def test_deeply_nested_json_is_no_crash(depth):
    for data in (
        '{"error": ' + "[" * depth + "]" * depth + "}",
        '{"error": ' + '{"a":' * depth + "1" + "}" * depth + "}",
    ):
        error_body(data.encode())
        with pytest.raises(WireError):
            parse(data.encode(), False)


@given(st.binary(max_size=2000))
def test_error_texts_are_short_and_printable(data):
    text = error_body(data)
    assert len(text) <= 520
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)


@given(st.integers(1, 1000), st.none() | st.text(max_size=30), st.floats(0, 1, exclude_max=True))
def test_pauses_are_bounded_whatever_the_server_says(attempt, header, unit):
    assert 0 <= backoff_s(attempt, header, 30.0, unit, now_s=0.0) <= 30.1


def test_pauses_grow_and_follow_the_server():
    assert [backoff_s(k, None, 30.0, 0.5) for k in (1, 2, 3, 9)] == [0.25, 0.5, 1.0, 8.0]
    assert backoff_s(1, "3", 30.0, 0.0) == 3.0
    assert backoff_s(1, "1e9", 30.0, 0.0) == 30.0
    assert backoff_s(1, "garbage", 30.0, 0.5) == 0.25
    assert backoff_s(1, "Thu, 01 Jan 1970 00:00:07 GMT", 30.0, 0.0, now_s=2.0) == 5.0
