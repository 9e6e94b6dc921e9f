"""The report of a training: it says what was out of the ordinary, and a resumed run counts once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from embodied.core.reward import RewardProgram
from embodied.core.runs import RunFolder
from embodied.core.writer import Check
from embodied.rl import training_report

SOURCE = "def reward(world, action):\n    return {'a': world.time}\n"


def notes(*, writer="text2reward", provenance=None, note="", missing=()):
    pipeline = SimpleNamespace(config={"allow_missing_sandbox_layers": list(missing)}, rounds=())
    program = RewardProgram(SOURCE, writer, "reach", provenance=provenance or {})
    return training_report._notes(program, Check("accepted", note=note), pipeline)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"missing": ["landlock", "seccomp"]}, "allowed to be absent: landlock, seccomp"),
        ({"note": "term 'a' mixes the batch"}, "term 'a' mixes the batch"),
        ({"writer": "library"}, "no language model wrote it"),
        ({"provenance": {"came_by": {"source": "replay"}}}, "record made earlier"),
    ],
)
def test_what_is_out_of_the_ordinary_is_said(given, said):
    assert notes() == [], "an ordinary run needs no note"
    (note,) = notes(**given)
    assert said in note


def test_rows_that_a_resumed_run_wrote_again_count_once_and_the_newest_holds(tmp_path):
    run = RunFolder(tmp_path)

    def evaluated(job, step, rate):
        run.metric(
            {"job": job, "kind": "evaluation", "step": step, "rate": rate, "low": rate - 0.1, "high": rate + 0.1}
        )

    def progressed(step, **terms):
        run.metric({"job": "written", "kind": "progress", "step": step, "terms": terms})

    for step, rate in ((100, 0.1), (200, 0.2), (300, 0.9), (200, 0.4), (300, 0.5)):  # killed, resumed from 100
        evaluated("written", step, rate)
        progressed(step, near=10 * rate)
    evaluated("expert", 200, 0.7)
    curves = {curve.name: curve for curve in training_report._curves(run)}
    written = curves["written reward"]
    assert (list(written.x), list(written.y)) == ([100, 200, 300], [0.1, 0.4, 0.5])
    assert list(written.low) == pytest.approx([0.0, 0.3, 0.4])
    assert list(written.high) == pytest.approx([0.2, 0.5, 0.6])
    assert (list(curves["expert reward"].x), list(curves["near"].y)) == ([200], pytest.approx([1.0, 4.0, 5.0]))
