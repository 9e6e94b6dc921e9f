"""The run folder: what it is made from is written down, and nobody else's command line is."""

from __future__ import annotations

import json
import os
import sys

import pytest

from embodied.core.errors import ConfigError
from embodied.core.runs import RunFolder, machine_provenance


def test_what_a_run_is_made_from_is_there_before_its_first_step(tmp_path):
    run = RunFolder.create(tmp_path, "push")
    run.start("task: {name: push}\n", ["task=push", "seed=3"], {"seed": 3})
    assert (run / "overrides.txt").read_text().splitlines() == ["task=push", "seed=3"]
    assert (run / "config.yaml").read_text() == "task: {name: push}\n"
    written = json.loads((run / "provenance.json").read_text())
    assert written["seed"] == 3
    assert set(machine_provenance()) <= set(written)
    assert run.path.stat().st_mode & 0o077 == 0
    assert run.result is None, "a run without a result is not complete"


@pytest.mark.parametrize(
    ("argv", "kept"),
    [
        (["/usr/bin/embodied", "train", "task=reach"], ["embodied", "train", "task=reach"]),
        (["/x/embodied/commands/main.py", "train"], ["main.py", "train"]),
        (["/home/me/mine.py", "--token", "canary-1234"], ["mine.py"]),
        (["-c", "canary-1234"], ["-c"]),
    ],
)
def test_arguments_of_another_program_are_not_ours_to_write_down(argv, kept, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    assert machine_provenance()["command"] == kept


def test_a_folder_has_one_owner_who_is_named(tmp_path):
    run = RunFolder.create(tmp_path, "push")
    run.start("a: 1\n", [], {})
    run.lock()
    with pytest.raises(ConfigError, match=f"in use by process {os.getpid()}"):
        RunFolder.open(run.path).lock()
