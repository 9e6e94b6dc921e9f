"""The report of a scripted talk: sentence by sentence what was understood, what moved and how the terms went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.errors import RenderingError
from embodied.core.files import read_json, write_bytes, write_text
from embodied.core.markup import escape, highlight
from embodied.core.report import page, videos
from embodied.core.svg import Series, line_chart
from embodied.sessions.talk.session import TalkSession


def write(session: TalkSession, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes `report.html`; gives its path.

    Args:
        session: the talk, after its script.
        rows: of `run_script`.
    """
    path = session.folder / "provenance.json"
    provenance = read_json(path) if path.is_file() else {}
    said = [row for row in rows if row["kind"] == "say"]
    moved = sum(row["outcome"] == "moving" for row in said)
    headline = f"{moved} of {len(said)} sentences moved the robot; {session.stage.t_s:.1f} s simulated"
    sections = [("film", "What it did", _film(session))]
    turns = {turn.id: turn for turn in session.state.turns}
    for row in rows:
        title = row["text"] or {"undo": "taken back", "save": "kept", "wait": "waiting"}[row["kind"]]
        body = f'<p class="lead">at {row["t_s"]:.1f} s: {escape(row["outcome"])}</p>{_terms(row["track"])}'
        turn = turns.get(f"line-{row['index']}")
        if turn is not None:
            came = turn.program.provenance
            body += (
                f"<h3>What was understood</h3><pre>{escape(came['description'])}</pre>"
                if came.get("description")
                else ""
            )
            body += f'<h3>Code</h3><pre class="code">{highlight(str(came.get("code") or turn.program.source))}</pre>'
        sections.append((f"line-{row['index']}", title, body))
    run_name = f"{session.folder.path.parent.name}/{session.folder.path.name}"
    robot = session.stage.task.name.partition("/")[0]
    eyebrow = f"<span>talk with <b>{escape(robot)}</b></span><span>{escape(run_name)}</span>"
    title = "; ".join(row["text"] for row in said) or "A talk"
    target = session.folder / "report.html"
    write_text(target, page(title, eyebrow, headline, sections, provenance))
    return target


def _film(session: TalkSession) -> str:
    try:
        data = session.film(session.stage, 600.0) if session.film is not None else b""
    except RenderingError as error:
        return videos([], f"no film: {error}")
    write_bytes(session.folder / "videos" / "talk.mp4", data)
    return videos([("the whole talk, in simulated real time", data)])


def _terms(track: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in track for name in row["terms"]))
    charts = []
    for name in names:
        points = [(row["t_s"], row["terms"][name]) for row in track if name in row["terms"]]
        x, y = np.array(points).T
        charts.append(line_chart([Series(name, x, y)], label=name, x_label="simulated seconds", small=True))
    return f'<div class="small-multiples">{"".join(charts)}</div>' if any(charts) else ""
