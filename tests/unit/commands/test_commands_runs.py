"""`embodied runs` over synthetic run folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embodied.commands import runs
from embodied.core.errors import ConfigError
from embodied.core.files import write_json, write_text
from embodied.core.runs import RunFolder

RESULT = {
    "task": "push",
    "reward": {"writer": "text2reward", "sha256": "ab" * 32},
    "trainer": "ppo",
    "seed": 3,
    "steps": 1000,
    "success": {"rate": 0.87, "low": 0.79, "high": 0.92, "episodes": 100, "at_end": 0.8},
    "baselines": {"expert": {"rate": 0.9, "low": 0.8, "high": 0.95, "episodes": 100}},
    "wall_s": 12.3456,
}


def make(root: Path, name: str, day: str, *, result: dict | None = None, seed: int = 0) -> RunFolder:
    path = root / day / f"12-00-00-{name}"
    path.mkdir(parents=True)
    config = f"task: {{_target_: embodied.sim.tasks.push.Push, goal: 0.1}}\nseed: {seed}\n"
    write_text(path / "config.yaml", config)
    if result:
        write_json(path / "result.json", result)
    return RunFolder(path)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "runs"


def test_list_shows_newest_first(root, capsys):
    make(root, "old-aaaa", "2025-01-01", result=RESULT)
    make(root, "new-bbbb", "2025-02-01", seed=5)
    assert runs.run(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["new-bbbb", "old-aaaa"]
    assert [row["state"] for row in rows] == ["interrupted", "done"]
    assert rows[0]["task"] == "Push"
    assert rows[0]["seed"] == 5
    assert rows[1]["writer"] == "text2reward"
    assert runs.run(["list"]) == 0
    assert "87% [79, 92]" in capsys.readouterr().out


def test_no_runs_is_no_error(root, capsys):
    assert runs.run([]) == 0
    assert "no runs" in capsys.readouterr().out


def test_damaged_folders_are_still_listed(root, capsys):
    run = make(root, "torn-aaaa", "2025-01-01")
    (run / "result.json").write_text('{"task"')
    (run / "config.yaml").write_text("a: [")
    assert runs.run(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "torn-aaaa"


def test_compare_shows_only_differences(root, capsys):
    make(root, "one-aaaa", "2025-01-01", result=RESULT)
    make(root, "two-bbbb", "2025-01-01", result={**RESULT, "steps": 2000}, seed=9)
    assert runs.run(["compare", "aaaa", "two", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["differences"] == {"seed": [0, 9]}
    assert found["results"]["steps"] == [1000, 2000]
    assert found["results"]["success"] == ["87% [79, 92] of 100"] * 2
    assert found["results"]["success at the end"] == ["80%"] * 2
    assert found["results"]["expert"] == ["90% [80, 95] of 100"] * 2
    assert found["results"]["random"] == ["-"] * 2
    assert runs.run(["compare", "aaaa", "bbbb"]) == 0
    out = capsys.readouterr().out
    assert "seed" in out
    assert "task.goal" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lst"], "Did you mean 'list'"),
        (["compare", "aaaa"], "at least two"),
        (["compare", "aaaa", "zzzz"], "unknown run 'zzzz'"),
        (["compare", "2025", "aaaa"], "fits 2 runs"),
        (["clean"], "say what to delete"),
        (["clean", "--keep", "few"], "number of runs"),
        (["clean", "--kep", "1"], "Did you mean '--keep'"),
        (["list", "runs_dir=elsewhere"], "not a folder"),
    ],
)
def test_mistakes(root, words, message):
    make(root, "one-aaaa", "2025-01-01")
    make(root, "two-bbbb", "2025-01-01")
    with pytest.raises(ConfigError, match=message):
        runs.run(words)


def test_clean_asks_first(root, capsys):
    run = make(root, "one-aaaa", "2025-01-01")
    with pytest.raises(ConfigError, match="--yes"):
        runs.run(["clean", "--keep", "0"])
    assert run.path.is_dir()


def test_clean_keeps_the_newest(root, capsys):
    made = [make(root, f"run-{i}", f"2025-01-0{i}", result=RESULT) for i in range(1, 5)]
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (made[0].path / "link").symlink_to(outside)
    assert runs.run(["clean", "--keep", "2", "--yes"]) == 0
    assert [run.path.is_dir() for run in made] == [False, False, True, True]
    assert (outside / "precious").is_file()


def test_clean_of_interrupted_runs_only(root):
    done, broken = make(root, "a-1", "2025-01-01", result=RESULT), make(root, "b-2", "2025-01-01")
    assert runs.run(["clean", "--interrupted", "--yes"]) == 0
    assert done.path.is_dir()
    assert not broken.path.exists()


def test_a_running_run_is_seen_and_never_deleted(root, capsys):
    run = make(root, "busy-aaaa", "2025-01-01")
    code = (
        "import sys; from pathlib import Path; from embodied.core.runs import RunFolder;"
        "RunFolder(Path(sys.argv[1])).lock(); print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        assert runs.state(run) == "running"
        assert runs.run(["clean", "--keep", "0", "--yes"]) == 0
        assert "nothing to delete" in capsys.readouterr().out
        assert not runs._delete(run)
        assert run.path.is_dir()
    finally:
        holder.communicate(timeout=20)
    assert runs.state(run) == "interrupted"
    assert runs.run(["clean", "--keep", "0", "--yes"]) == 0
    assert not run.path.exists()
    assert os.listdir(root) == []
