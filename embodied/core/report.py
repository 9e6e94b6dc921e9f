"""The report of a run: one self-contained `report.html` that a lab can put on its page.

No script, no external resource, no file beside it: a content policy forbids both. All model-written text
enters as escaped text, with terminal escapes and direction-changing characters made visible.
"""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.assets import data_file
from embodied.core.files import read_json, write_text
from embodied.core.markup import escape, highlight, pairs
from embodied.core.runs import RunFolder
from embodied.core.svg import Series, line_chart, number

NO_VIDEOS = (
    "No rollout videos: this machine could not make an OpenGL context. Remedy: apt-get install -y libegl1"
    " libosmesa6"
    " libgl1-mesa-dri, then check with embodied doctor."
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


@dataclass(frozen=True)
class Curve:
    """One line over environment steps.

    Attributes:
        name: what the legend says, such as `written reward`; curves and success rows of one name share a
            colour.
        x: environment steps.
        y: the value; a rate in 0..1 in group `success`.
        low: lower end of the band, or None.
        high: upper end of the band, or None.
        group: `success` (the learning curves), `terms` (one small chart each), or the title of a chart of
            its own.
    """

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    low: Sequence[float] | np.ndarray | None = None
    high: Sequence[float] | np.ndarray | None = None
    group: str = "success"


@dataclass(frozen=True)
class SuccessRow:
    """A success rate in 0..1 with its 95% Wilson interval over `episodes`."""

    name: str
    rate: float
    low: float
    high: float
    episodes: int


@dataclass(frozen=True)
class Check:
    """One check of a reward program, with what it found."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class Round:
    """One round with the model: the checks of its answer, and what was sent back, empty when accepted."""

    number: int
    checks: Sequence[Check] = ()
    sent_back: str = ""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


@dataclass(frozen=True)
class TermRow:
    """One reward term over the probe states.

    Attributes:
        name: the term.
        low: its least weighted value.
        high: its greatest weighted value.
        share: its part of the total's spread, in 0..1, or None.
        flags: findings such as `dead` or `dominating`.
    """

    name: str
    low: float
    high: float
    share: float | None = None
    flags: Sequence[str] = ()


@dataclass(frozen=True)
class Screen:
    """What was found before training: `auc` of ranking good episodes above bad ones, terms, warnings."""

    auc: float | None = None
    terms: Sequence[TermRow] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """The content of a report. Empty parts are left out of the page.

    Attributes:
        instruction: the sentence; the page's title.
        task: the task's name.
        headline: how it went, in one sentence.
        code: the reward program.
        origin: where the program came from: writer, model, recorded answer or retrieval, prompt hash.
        rounds: the dialogue with the model.
        screen: what was found before training.
        curves: learning curves, by-term curves and others.
        successes: success rates to compare, the run's own first.
        videos: pairs of caption and mp4 bytes.
        settings: the resolved configuration (nested mappings are flattened).
        notes: remarks that a reader must know, such as a missing sandbox layer.
        command: how to reproduce; by default the run's own command line.
        no_videos: why there are no videos.
    """

    instruction: str
    task: str
    headline: str = ""
    code: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)
    rounds: Sequence[Round] = ()
    screen: Screen | None = None
    curves: Sequence[Curve] = ()
    successes: Sequence[SuccessRow] = ()
    videos: Sequence[tuple[str, bytes]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    command: str = ""
    no_videos: str = NO_VIDEOS


def write_report(run: RunFolder, content: Report) -> Path:
    """Writes `report.html` into a run folder; versions and the command are read from the folder.

    Returns:
        The file's path.
    """
    provenance = read_json(run / "provenance.json") if (run / "provenance.json").is_file() else {}
    path = run / "report.html"
    write_text(path, render_report(content, provenance, f"{run.path.parent.name}/{run.path.name}"))
    return path


def render_report(content: Report, provenance: Mapping[str, Any], run_name: str) -> str:
    """The page as text.

    Args:
        content: what to show.
        provenance: versions and machine, shown as a table; `command` is the run's command line.
        run_name: the run folder's name, shown under the title.
    """
    colors = _colors(content)
    sections = [
        ("result", "How it went", _successes(content, colors)),
        ("videos", "Rollouts", videos(content.videos, content.no_videos)),
        ("learning", "Learning", _learning(content, colors)),
        ("reward", "The reward", _reward(content)),
        ("rounds", "Rounds with the model", _rounds(content.rounds)),
        ("screen", "Before training", _screen(content.screen)),
        ("terms", "Reward, term by term", _terms(content.curves)),
        ("reproduce", "Reproduce", _reproduce(content, provenance)),
    ]
    return page(
        content.instruction,
        f"<span>task <b>{escape(content.task)}</b></span><span>{escape(run_name)}</span>",
        content.headline,
        sections,
        provenance,
    )


def page(
    title: str, eyebrow: str, headline: str, sections: Sequence[tuple[str, str, str]], provenance: Mapping[str, Any]
) -> str:
    """A self-contained page in the reports' style.

    Args:
        title: plain text.
        eyebrow: HTML above the title.
        headline: plain text under it.
        sections: `(anchor, title, HTML)`; those without a body are left out.
        provenance: of the run, for the version in the footer.
    """
    shown = [(key, title, body) for key, title, body in sections if body]
    links = "".join(f'<a href="#{key}">{escape(name)}</a>' for key, name, _ in shown)
    bodies = "\n".join(f'<section id="{key}"><h2>{escape(name)}</h2>{body}</section>' for key, name, body in shown)
    css = data_file("core", "report.css").read_text(encoding="utf-8")
    version = f" {escape(provenance['embodied'])}" if provenance.get("embodied") else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title>\n<style>{css}</style></head>\n<body><main>"
        f'<header><p class="eyebrow">{eyebrow}</p><h1>{escape(title)}</h1>'
        f'<p class="headline">{escape(headline)}</p><nav>{links}</nav></header>\n{bodies}\n'
        f"<footer>Written by embodied{version} on"
        f" {datetime.now():%Y-%m-%d %H:%M}.</footer></main></body></html>\n"
    )


def _colors(content: Report) -> dict[str, str]:
    """One colour per name all over the page; random is grey."""
    names = [row.name for row in content.successes]
    names += [curve.name for curve in content.curves if curve.group != "terms"]
    colors: dict[str, str] = {}
    for name in dict.fromkeys(names):
        used = sum(color != "0" for color in colors.values())
        colors[name] = "0" if "random" in name.lower() else str(used % 5 + 1)
    return colors


def _successes(content: Report, colors: Mapping[str, str]) -> str:
    if not content.successes:
        return "".join(_note(text) for text in content.notes)
    rows = []
    for row in content.successes:
        rate, low, high = (min(max(float(v), 0.0), 1.0) for v in (row.rate, row.low, row.high))
        interval = f"{low * 100:.0f}% to {high * 100:.0f}%"
        rows.append(
            f'<div class="rate"><div class="name">{escape(row.name)}<small>{int(row.episodes)}'
            " episodes</small></div>"
            f'<div class="track"><div class="bar b{colors[row.name]}" style="width:{rate:.2%}"></div>'
            f'<div class="whisker" style="left:{low:.2%};width:{high - low:.2%}"></div></div>'
            f'<div class="value">{number(rate, percent=True)}<small>{interval}</small></div></div>'
        )
    ends = '<div class="scale"><i>0</i><div><span>0%</span><span>50%</span><span>100%</span></div><i>0</i></div>'
    return (
        '<p class="lead">Episodes that reached the task\'s own success condition, which no reward can see'
        " or change."
        " The line across each bar is the 95% Wilson interval.</p>"
        f'<div class="rates">{"".join(rows)}</div>{ends}{"".join(_note(text) for text in content.notes)}'
    )


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def videos(films: Sequence[tuple[str, bytes]], why_none: str = "") -> str:
    """Films with their captions, or why there are none, as HTML."""
    if not films:
        return f'<p class="note warn">{escape(why_none)}</p>' if why_none else ""
    figures = "".join(
        f'<figure><video controls loop muted playsinline preload="metadata"'
        f' src="data:video/mp4;base64,{base64.b64encode(data).decode()}"></video>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, data in films
    )
    return f'<div class="videos">{figures}</div>'


def _series(curve: Curve, color: str) -> Series:
    low, high = (None if v is None else np.asarray(v, float) for v in (curve.low, curve.high))
    return Series(curve.name, np.asarray(curve.x, float), np.asarray(curve.y, float), low, high, color)


def _learning(content: Report, colors: Mapping[str, str]) -> str:
    groups: dict[str, list[Series]] = {}
    for curve in content.curves:
        if curve.group != "terms":
            groups.setdefault(curve.group, []).append(_series(curve, colors[curve.name]))
    charts = []
    for group, series in groups.items():
        rate = group == "success"
        label = "success rate" if rate else group
        charts.append(line_chart(series, label=label, percent=rate, y_range=(0.0, 1.0) if rate else None))
    if not any(charts):
        return ""
    banded = any(curve.low is not None for curve in content.curves if curve.group == "success")
    lead = "Measured while training, by an evaluator that never loads the reward." if "success" in groups else ""
    band = " Bands are 95% intervals." if banded else ""
    return f'<p class="lead">{lead}{band}</p>{"".join(charts)}' if lead else "".join(charts)


def _terms(curves: Sequence[Curve]) -> str:
    charts = [
        line_chart([_series(curve, "1")], label=curve.name, small=True) for curve in curves if curve.group == "terms"
    ]
    if not any(charts):
        return ""
    return (
        '<p class="lead">Mean weighted value of every term over environment steps. Each chart has its own'
        " scale.</p>"
        f'<div class="small-multiples">{"".join(charts)}</div>'
    )


def _reward(content: Report) -> str:
    if not content.code:
        return ""
    return f'<pre class="code">{highlight(content.code)}</pre>' + (
        f"<h3>Where it came from</h3>{pairs(content.origin)}" if content.origin else ""
    )


def _rounds(rounds: Sequence[Round]) -> str:
    out = []
    for i, one in enumerate(rounds):
        failed = sum(not check.passed for check in one.checks)
        badge = (
            f'<span class="badge bad">\u2717 {failed} of {len(one.checks)} checks failed</span>'
            if failed
            else '<span class="badge good">\u2713 accepted</span>'
        )
        checks = "".join(
            f'<li class="{"pass" if check.passed else "fail"}">{escape(check.name)}'
            f"{f' <span>{escape(check.detail)}</span>' if check.detail else ''}</li>"
            for check in one.checks
        )
        sent = f'<h3>Sent back</h3><pre class="said">{escape(one.sent_back)}</pre>' if one.sent_back else ""
        state = " open" if failed or i == len(rounds) - 1 else ""
        out.append(
            f'<details class="round"{state}><summary>Round {int(one.number)}{badge}</summary>'
            f'<ul class="checks">{checks}</ul>{sent}</details>'
        )
    return "".join(out)


def _screen(screen: Screen | None) -> str:
    if screen is None:
        return ""
    out = ['<p class="lead">The program was tried on recorded good and bad episodes before any training.</p>']
    if screen.auc is not None:
        out.append(
            f'<div class="figure-row"><div class="stat"><strong>{screen.auc:.2f}</strong>'
            "<small>AUC: how often it ranks a good episode above a bad one (0.5 is"
            " chance)</small></div></div>"
        )
    if screen.terms:
        rows = "".join(_term_row(term) for term in screen.terms)
        shared = any(term.share is not None for term in screen.terms)
        out.append(
            '<div class="scroll"><table><thead><tr><th>term</th><th>least</th><th>greatest</th>'
            f"{'<th>share of the spread</th>' if shared else ''}<th>finding</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )
    out += [f'<p class="note warn">{escape(text)}</p>' for text in screen.warnings]
    return "".join(out)


def _term_row(term: TermRow) -> str:
    flags = "".join(f'<span class="badge warn">\u26a0 {escape(flag)}</span>' for flag in term.flags)
    share = ""
    if term.share is not None:
        part = min(max(term.share, 0.0), 1.0) if math.isfinite(term.share) else 0.0
        share = (
            f'<td><div class="share"><div class="room"><div style="width:{part:.1%}"></div></div>'
            f"<span>{number(part, percent=True)}</span></div></td>"
        )
    return (
        f'<tr><th class="mono">{escape(term.name)}</th><td>{number(term.low)}</td>'
        f"<td>{number(term.high)}</td>"
        f"{share}<td>{flags or '-'}</td></tr>"
    )


def _reproduce(content: Report, provenance: Mapping[str, Any]) -> str:
    command = content.command or shlex.join(provenance.get("command", []))
    out = [f'<pre class="command">{escape(command)}</pre>'] if command else []
    if content.settings:
        out.append(f"<details><summary>Settings</summary>{pairs(content.settings)}</details>")
    rest = {key: value for key, value in provenance.items() if key != "command"}
    if rest:
        out.append(f"<details><summary>Versions and machine</summary>{pairs(rest)}</details>")
    return "".join(out)
