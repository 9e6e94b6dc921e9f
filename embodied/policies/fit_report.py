"""One page about a fitted policy: what it learned from, its losses, its success, and films in which it says why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.files import read_json, read_jsonl, write_text
from embodied.core.report import page, videos
from embodied.core.svg import Series, line_chart

_LOSSES = {
    "total": "loss, all of it",
    "action": "loss of the action head",
    "reasoning": "loss of the reasoning [nats per token]",
    "reasoning_accuracy": "reasoning tokens that were most probable",
}


def write_fit_report(run: Path) -> Path:
    """Writes `report.html` into a run folder of `embodied fit` from what stands there."""
    rows = list(read_jsonl(run / "metrics.jsonl"))
    manifest = read_json(run / "policy" / "manifest.json")
    films = [(path.stem, path.read_bytes()) for path in sorted((run / "videos").glob("*.mp4"))]
    tried = list(read_jsonl(run / "evaluations.jsonl"))
    sections = [
        ("success", "Success", _success(tried)),
        ("films", "What it did and said", videos(films) if films else ""),
        ("losses", "Losses", _losses(rows)),
        ("architecture", "Architecture", _architecture(manifest["architecture"])),
    ]
    headline = "not tried yet: embodied evaluate policy=<this folder> tasks=[...]"
    if tried:
        good = sum(round(row["rate"] * row["episodes"]) for row in tried)
        headline = f"{good} of {sum(row['episodes'] for row in tried)} episodes succeeded"
    provenance = read_json(run / "provenance.json") if (run / "provenance.json").exists() else {}
    write_text(run / "report.html", page(f"Policy {run.name}", "fitted policy", headline, sections, provenance))
    return run / "report.html"


def _success(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    head = "<tr><th>task</th><th>told</th><th>success</th><th>95%</th><th>episodes</th></tr>"
    body = "".join(
        f"<tr><td>{escape(r['task'])}</td><td>{escape(r['instruction'])}</td><td>{r['rate']:.0%}</td>"
        f"<td>{r['low']:.0%} to {r['high']:.0%}</td><td>{r['episodes']}</td></tr>"
        for r in rows
    )
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _losses(rows: Sequence[Mapping[str, Any]]) -> str:
    charts = []
    for name, label in _LOSSES.items():
        series = []
        for color, kind in (("1", "train"), ("2", "validation")):
            points = [(r["step"], r[name]) for r in rows if r.get("kind") == kind and name in r]
            if points:
                x, y = np.array(points, dtype=float).T
                series.append(Series(kind, x, y, color=color))
        if series and any(np.any(s.y != 0.0) for s in series):
            charts.append(line_chart(series, label=label, x_label="steps", small=True))
    return f'<div class="small-multiples">{"".join(charts)}</div>' if charts else ""


def _architecture(architecture: Mapping[str, Any]) -> str:
    shown = {k: v for k, v in architecture.items() if k != "vocabulary"}
    return f"<pre>{escape(json.dumps(shown, indent=2))}</pre>"
