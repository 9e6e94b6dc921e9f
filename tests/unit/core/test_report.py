"""The report: self-contained, well-formed, safe against hostile text, and holding what it was given."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.core import svg
from embodied.core.files import write_json
from embodied.core.markup import escape, highlight
from embodied.core.report import (
    Check,
    Curve,
    Report,
    Round,
    Screen,
    SuccessRow,
    TermRow,
    render_report,
    write_report,
)
from embodied.core.runs import RunFolder

HOSTILE = (
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\x00\u202egnp.\u2066 \ud800 &amp; \"'"
)
VOID = {"meta", "br", "img", "link"}


class Page(HTMLParser):
    """Checks nesting; collects tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.stack, f"</{tag}> at {self.getpos()}"
        assert self.stack.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        if self.stack and self.stack[-1] != "style":
            self.text += data


def content(text: str = "Push the cube.", videos=()) -> Report:
    x = np.arange(0, 1001, 100)
    return Report(
        instruction=text,
        task="push",
        headline=f"It went well. {text}",
        code=f'WEIGHTS = {{"near": 2.0}}\n\ndef reward(world, action):\n    # {text}\n    return {{"near": -1.5}}\n',
        origin={"model": text, "prompt sha256": "abc123"},
        rounds=[
            Round(1, [Check("parses", True), Check("known names", False, text)], f"line 3: {text}"),
            Round(2, [Check("parses", True)]),
        ],
        screen=Screen(0.9312, [TermRow(text, -1.5, 0.25, 0.4, ["dominating", text])], [f"warning {text}"]),
        curves=[
            Curve("written reward", x, x / 1000, x / 1100, np.minimum(1, x / 900)),
            Curve(text, x, x / 2000),
            Curve("near", x, -x, group="terms"),
            Curve("written reward", x, x * 3.0, group="episode return"),
        ],
        successes=[SuccessRow("written reward", 0.87, 0.79, 0.92, 100), SuccessRow(text, 0.0, 0.0, 0.04, 90)],
        videos=videos,
        settings={"task": {"goal": [1, 2], text: text}, "seed": 7, "nothing": None},
        notes=[text],
    )


def rendered(**changes) -> Page:
    return Page(render_report(content(**changes), {"embodied": "0.1.0", "packages": {"numpy": "2"}}, "day/run"))


def test_holds_what_it_was_given():
    page = rendered()
    for word in (
        "Push the cube.", "It went well", "87%", "79% to 92%", "100 episodes", "abc123", "known names",
        "line 3:", "0.93", "dominating", "written reward", "episode return", "task.goal", "1, 2", "seed",
        "packages.numpy", "day/run", "Sent back",
    ):  # fmt: skip
        assert word in page.text, word
    assert page.tags.count("polyline") == 4
    assert page.tags.count("polygon") == 1


def test_hostile_text_stays_text():
    text = render_report(content(HOSTILE), {}, "run")
    page = Page(text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert not [a for a in page.attributes if a[1].startswith("on")]
    assert "alert(1)" in page.text
    text.encode("utf-8")
    for forbidden in "\x1b\x00\u202e\u2066\ud800":
        assert forbidden not in text


def test_refers_to_nothing_outside():
    text = render_report(content(videos=[("film", b"\x00mp4")]), {}, "run")
    page = Page(text)
    links = [v for _, name, v in page.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert all(v.startswith(("data:", "#")) for v in links)
    assert "url(" not in text
    assert "@import" not in text
    policy = next(v for tag, name, v in page.attributes if tag == "meta" and name == "content")
    assert policy.startswith("default-src 'none'")


def test_videos_are_inside_and_their_absence_is_said():
    page = rendered(videos=[("a film", b"film-bytes")])
    source = next(v for tag, name, v in page.attributes if (tag, name) == ("video", "src"))
    assert base64.b64decode(source.partition(",")[2]) == b"film-bytes"
    assert "a film" in page.text
    without = rendered()
    assert "video" not in without.tags
    assert "libegl1" in without.text


def test_code_survives_colouring():
    source = content().code
    page = Page(f"<pre>{highlight(source)}</pre>")
    assert page.text.strip("\n") == source.strip("\n")
    assert ("span", "class", "k") in page.attributes


@pytest.mark.parametrize(
    ("source", "colours"),
    [
        ("def f(:\n  '''open", set()),
        ("\tx = 1\r\n\x0c y", set()),
        ("", set()),
        ("a\rb", set()),
        ("(" * 300, set()),
        ("x = '''1\n2\n3'''\n", {"s"}),
    ],
)
def test_code_is_shown_verbatim_and_what_is_no_python_plain(source, colours):
    page = Page(f"<pre>{highlight(source)}</pre>")
    shown = page.text.translate({0x2400 + code: code for code in range(32)})  # control characters are made visible
    assert shown.strip("\n") == source.replace("\r\n", "\n").strip("\n")
    marks = {value for _, name, value in page.attributes if name == "class"}
    assert marks == {"l"} | colours


@settings(max_examples=150, deadline=None)
@given(st.text())
def test_any_text_is_one_text_node(text):
    page = Page(f"<p>{escape(text)}</p><pre>{highlight(text)}</pre>")
    assert set(page.tags) <= {"p", "pre", "span"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=12))
def test_any_curve_can_be_drawn(values):
    curve = Curve("c", list(range(len(values))), values)
    text = render_report(Report("i", "t", curves=[curve]), {}, "run")
    Page(text)
    for points in re.findall(r'points="([^"]*)"', text):
        assert "nan" not in points
        assert "inf" not in points


def test_long_curves_are_thinned():
    x = np.arange(100_000.0)
    series = svg.tidy(svg.Series("c", x, x))
    assert series is not None
    assert len(series.x) == svg.MAX_POINTS
    assert abs(series.y.mean() - x.mean()) < 1


@pytest.mark.parametrize(
    ("low", "high", "first", "last"), [(0, 1, 0, 1), (-40, 20, -40, 20), (0, 1e6, 0, 1e6), (3, 3, 3, 3)]
)
def test_ticks_are_round_and_inside(low, high, first, last):
    found = svg.ticks(low, high)
    assert (found[0], found[-1]) == (first, last)
    assert 1 <= len(found) <= 8


def test_numbers_as_people_write_them():
    assert svg.number(1_200_000) == "1.2M"
    assert svg.number(250_000) == "250k"
    assert svg.number(-0.0345) == "\u22120.0345"
    assert svg.number(0.875, percent=True) == "87.5%"
    assert svg.number(1, percent=True) == "100%"


def test_empty_parts_are_left_out():
    page = Page(render_report(Report("Sit.", "dog"), {}, "run"))
    assert "Rounds" not in page.text
    assert "Before training" not in page.text


def test_is_written_into_the_run_folder(tmp_path):
    run = RunFolder.create(tmp_path, "push")
    write_json(run / "provenance.json", {"command": ["embodied", "train", "name=two words"], "python": "3.11"})
    path = write_report(run, content())
    assert path == run / "report.html"
    text = path.read_text(encoding="utf-8")
    assert "embodied train &#x27;name=two words&#x27;" in text
