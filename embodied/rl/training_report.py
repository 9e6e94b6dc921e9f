"""The report of one training, from what its run folder and its outcome hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embodied.core import report as page
from embodied.core.errors import RenderingError
from embodied.core.files import read_json, write_bytes
from embodied.core.reward import RewardProgram
from embodied.core.runs import RunFolder
from embodied.core.writer import Check
from embodied.rl.film import film
from embodied.rl.job import FINAL_SEED, policy_actor
from embodied.rl.pipeline import Outcome, Pipeline
from embodied.rl.rounds import round_folder

LABELS = {"written": "written reward", "expert": "expert reward", "random": "random policy"}


def write(pipeline: Pipeline, program: RewardProgram, check: Check, outcome: Outcome) -> Path:
    """Films the policies and writes `report.html`; without OpenGL the page says so and has no films."""
    run, task = pipeline.run, pipeline.task
    videos, why = _films(pipeline, outcome)
    rows = [
        page.SuccessRow(LABELS[name], e["rate"], e["low"], e["high"], e["episodes"])
        for name, e in ((n, found.to_json()) for n, found in outcome.evaluations.items())
    ]
    content = page.Report(
        instruction=task.instruction,
        task=task.name,
        headline=_headline(outcome),
        code=program.source,
        origin=_origin(program),
        rounds=_rounds(pipeline),
        screen=_screen(check),
        curves=_curves(run),
        successes=rows,
        videos=videos,
        settings=pipeline.config,
        notes=_notes(program, check, pipeline),
        **({"no_videos": why} if why else {}),
    )
    return page.write_report(run, content)


def _headline(outcome: Outcome) -> str:
    found = outcome.evaluations["written"].to_json()
    text = (
        f"{found['rate']:.0%} of {found['episodes']} fresh episodes succeed"
        f" (95% interval {found['low']:.0%} to {found['high']:.0%})"
    )
    if "expert" in outcome.evaluations:
        text += f"; the hand-written expert reward reaches {outcome.evaluations['expert'].rate:.0%} at the same budget"
    return text + "."


def _origin(program: RewardProgram) -> dict[str, Any]:
    facts = {"writer": program.writer, **program.provenance}
    facts["evaluated"] = "batched, proven equal to row by row" if program.evaluation == "batched" else "row by row"
    facts["source sha256"] = program.sha256
    return facts


def _rounds(pipeline: Pipeline) -> list[page.Round]:
    """The dialogue with the model, from the run folder: a resumed run has it too."""
    folder = round_folder(pipeline.run, len(pipeline.rounds))
    files = sorted(folder.glob("attempt*.json"), key=lambda p: int(p.stem.partition("_")[2] or 0))
    attempts = [Check(**read_json(path)) for path in files]
    rounds = []
    for number, found in enumerate(attempts):
        passed = found.verdict == "accepted" and not found.note
        sent = "" if number + 1 == len(attempts) else (found.note or found.located_message)
        rounds.append(
            page.Round(number + 1, [page.Check(found.verdict, passed, found.note or found.located_message)], sent)
        )
    return rounds


def _screen(check: Check) -> page.Screen | None:
    if check.screen is None:
        return None
    terms = [
        page.TermRow(
            name,
            row["min"],
            row["max"],
            row["share"],
            [flag for flag in ("dead", "dominating") if row[flag]],
        )
        for name, row in check.screen["terms"].items()
    ]
    return page.Screen(check.screen["auc"], terms, check.screen["warnings"])


def _curves(run: RunFolder) -> list[page.Curve]:
    """Success of the candidates (measured by the evaluator), and the written reward term by term."""
    rows = _latest(run)
    curves = []
    for job in dict.fromkeys(job for job, _, _ in rows):
        found = [r for (j, kind, _), r in rows.items() if j == job and kind == "evaluation"]
        if found:
            curves.append(
                page.Curve(
                    LABELS[job],
                    [r["step"] for r in found],
                    [r["rate"] for r in found],
                    [r["low"] for r in found],
                    [r["high"] for r in found],
                )
            )
    progress = [r for (job, kind, _), r in rows.items() if job == "written" and kind == "progress"]
    names = dict.fromkeys(name for r in progress for name in r["terms"])
    for name in names:
        have = [r for r in progress if name in r["terms"]]
        curves.append(page.Curve(name, [r["step"] for r in have], [r["terms"][name] for r in have], group="terms"))
    return curves


def _latest(run: RunFolder) -> dict[tuple[str, str, int], Mapping[str, Any]]:
    """Rows by (job, kind, step), the newest of each: a resumed run repeats the rows since its snapshot."""
    table = {(r["job"], r["kind"], r["step"]): r for r in run.metrics()}
    return dict(sorted(table.items(), key=lambda item: item[0][2]))


def _films(pipeline: Pipeline, outcome: Outcome) -> tuple[list[tuple[str, bytes]], str]:
    video, films = pipeline.config["video"], []
    if int(video["episodes"]) < 1:
        return [], "Films were switched off (video.episodes=0)."
    try:
        for name, policy in outcome.policies.items():
            data = film(
                pipeline.task,
                policy_actor(policy),
                episodes=int(video["episodes"]),
                seed=FINAL_SEED + int(pipeline.config["seed"]) + 1,
                camera=video["camera"],
                width=int(video["width"]),
                height=int(video["height"]),
            )
            write_bytes(pipeline.run / "videos" / f"{name}.mp4", data)
            films.append((f"Policy trained with the {LABELS[name]}", data))
    except RenderingError as error:
        pipeline.say(f"no films: {error}")
        return [], str(error)
    return films, ""


def _notes(program: RewardProgram, check: Check, pipeline: Pipeline) -> list[str]:
    notes = [
        f"Round {number}. What a person saw: {one.description} What they wanted changed: {one.request}"
        for number, one in enumerate(pipeline.rounds)
    ]
    came_by = program.provenance.get("came_by")
    if program.writer == "library":
        notes.append("This reward was retrieved from the library of hand-written programs; no language model wrote it.")
    elif isinstance(came_by, Mapping) and came_by.get("source") == "replay":
        notes.append("The language model's answer comes from a record made earlier; it is replayed verbatim.")
    if check.note:
        notes.append(f"The program runs row by row, which is slower: {check.note}")
    missing = pipeline.config["allow_missing_sandbox_layers"]
    if missing:
        notes.append(f"Sandbox layers that were allowed to be absent: {', '.join(missing)}")
    return notes
