"""The report of a deployment: episodes, tracking joint by joint, the loop's rhythm, what the gate did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.files import read_json, write_text
from embodied.core.markup import escape
from embodied.core.report import page
from embodied.core.runs import RunFolder
from embodied.core.svg import Series, line_chart
from embodied.deploy.supervisor import Outcome


def beside(result: Mapping[str, Any]) -> str:
    """What the simulator said to the same policy from the same seeds, where it was asked."""
    return "" if result["simulated"] is None else f"; {result['simulated']} in the simulator from the same seeds"


def write(
    folder: RunFolder, outcome: Outcome, *, robot: str, transport: str, instruction: str, envelope: str, result: Mapping
) -> Path:
    """Writes `report.html` and the measured motion (`motion.npz`); gives the report's path."""
    joints = result["joints"]
    rows = outcome.rows
    if rows:
        np.savez_compressed(
            folder / "motion.npz",
            t_s=np.array([r[0] for r in rows]),
            measured_rad=np.array([r[1] for r in rows]),
            wanted_rad=np.array([r[2] for r in rows]),
            sent_rad=np.array([r[3] for r in rows]),
            verdict=np.array([r[4] for r in rows]),
            joints=np.array(joints),
        )
    path = folder / "provenance.json"
    provenance = read_json(path) if path.is_file() else {}
    sections = [
        ("episodes", "Episodes", _episodes(outcome.episodes)),
        ("tracking", "Sent and measured", _tracking(rows, joints)),
        ("loop", "The loop", _loop(outcome)),
        ("happened", "What happened", _notes(outcome)),
        ("envelope", "The envelope", f"<pre>{escape(envelope)}</pre>"),
    ]
    eyebrow = f"<span>deployed to <b>{escape(robot)}</b> ({escape(transport)})</span>"
    if result["episodes"]:
        headline = (
            f"{result['successes']} of {result['episodes']} episodes succeeded"
            f" ({result['low']:.0%} to {result['high']:.0%}){beside(result)}. Ended: {result['ended']}"
        )
    else:
        headline = f"Ended before an episode: {result['ended']} {outcome.why}"
    target = folder / "report.html"
    write_text(target, page(instruction, eyebrow, headline, sections, provenance))
    return target


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return ""
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _episodes(episodes: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (e["seed"], "yes" if e["success"] else "no", "yes" if e["success_at_end"] else "no", e["first_success_step"])
        for e in episodes
    ]
    return _table(("seed", "success", "at the end", "first success at step"), rows)


def _tracking(rows: Sequence[tuple[Any, ...]], joints: Sequence[str]) -> str:
    if not rows:
        return ""
    t = np.array([r[0] for r in rows]) - rows[0][0]
    measured, sent = np.array([r[1] for r in rows]), np.array([r[3] for r in rows])
    charts = [
        line_chart(
            [Series("sent", t, sent[:, j], color="1"), Series("measured", t, measured[:, j], color="2")],
            label=f"{joint} [rad]",
            x_label="seconds",
            small=True,
        )
        for j, joint in enumerate(joints)
    ]
    return f'<div class="small-multiples">{"".join(charts)}</div>'


def _loop(outcome: Outcome) -> str:
    status = outcome.status
    if not status:
        return ""
    pacer = status["pacer"]
    rows = [
        ("control periods", f"{pacer['cycles']:.0f}"),
        ("missed", f"{pacer['missed']:.0f}"),
        ("late, median", f"{pacer['late_p50_ms']:.3f} ms"),
        ("late, 99th percentile", f"{pacer['late_p99_ms']:.3f} ms"),
        ("real-time priority", "yes" if outcome.real_time else "no"),
        ("readings that failed", status["read_faults"]),
        *((f"gate: {name}", count) for name, count in status["verdicts"].items()),
        *((f"chunks refused: {why}", count) for why, count in status["refused"].items()),
    ]
    return _table(("", ""), rows)


def _notes(outcome: Outcome) -> str:
    if not outcome.notes:
        return ""
    begin = outcome.notes[0][0]
    return _table(("at", ""), [(f"{at - begin:.2f} s", text) for at, text in outcome.notes])
