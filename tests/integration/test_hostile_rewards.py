"""Hostile reward programs: each gets the verdict that its index states, and none gets out.

Three runs: both layers (verdicts), the lock alone with the static check off (no breach), and neither, on a
few programs that are safe to run (breaches must appear: they prove that the programs bite and that the test
sees it).

A breach is a file `/tmp/reward_canary_*`, a change of `/tmp/reward_victim`, or a reward of 666.
"""

from __future__ import annotations

import csv
import fcntl
import glob
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("fcntl")
if sys.platform != "linux":
    pytest.skip("the lock needs Linux", allow_module_level=True)

from embodied.sandbox.lock import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
ZYGOTE = ROOT / "tests" / "unit" / "sandbox" / "hostile_zygote.py"
OWN = ROOT / "tests" / "data" / "hostile"
SHARED = ROOT.parent / "shared" / "hostile_rewards"
VICTIM = Path("/tmp/reward_victim")
VICTIM_TEXT = b"untouched"
RUN_S = 2.0
# Bounded, and they leave nothing behind but a canary.
SAFE_UNLOCKED = (
    "os_system.py", "decorator.py", "annotation.py", "environ.py", "tofile.py", "savetxt.py", "subclasses.py",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _alone():
    """The canaries have fixed names: one such test at a time on a machine."""
    with open("/tmp/embodied_hostile_rewards.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
        _clean()


@pytest.fixture
def traps():
    _clean()
    VICTIM.write_bytes(VICTIM_TEXT)
    VICTIM.chmod(0o644)


def _clean() -> None:
    for path in [*glob.glob("/tmp/reward_canary_*"), str(VICTIM)]:
        if os.path.lexists(path):
            os.unlink(path)


def _breaches(answers: list[dict]) -> list[str]:
    found = [f"{Path(a['path']).name} returned 666" for a in answers if a.get("forged")]
    found += glob.glob("/tmp/reward_canary_*")
    if VICTIM.read_bytes() != VICTIM_TEXT or stat.S_IMODE(VICTIM.stat().st_mode) != 0o644:
        found.append("the victim was altered")
    return found


def _index(folder: Path) -> list[dict]:
    if not folder.is_dir():
        pytest.skip(f"no corpus at {folder}")
    with open(folder / "index.csv", newline="") as file:
        return list(csv.DictReader(file))


def _run(paths: list[Path], mode: str, folder: Path) -> list[dict]:
    """All programs through two zygotes."""

    def half(which: int) -> list[dict]:
        jobs = []
        for i, path in enumerate(paths):
            if i % 2 == which:
                work = folder / f"{mode}-{i}"
                work.mkdir()
                jobs.append(json.dumps({"path": str(path), "mode": mode, "folder": str(work)}))
        done = subprocess.run(
            [sys.executable, "-I", str(ZYGOTE), str(ROOT), str(RUN_S)],
            input="\n".join(jobs), capture_output=True, text=True, env=ENVIRONMENT, timeout=240, check=True,
        )  # fmt: skip
        return [json.loads(line) for line in done.stdout.splitlines()]

    with ThreadPoolExecutor(2) as pool:
        answers = [answer for part in pool.map(half, (0, 1)) for answer in part]
    assert len(answers) == len(paths), "a zygote lost a job"
    assert not [a for a in answers if a["verdict"] == "infrastructure"], answers
    return answers


@pytest.mark.parametrize("corpus", [OWN, SHARED], ids=["own", "shared"])
def test_both_layers_give_the_expected_verdicts(corpus, tmp_path, traps):
    rows = _index(corpus)
    answers = {Path(a["path"]).name: a for a in _run([corpus / r["file"] for r in rows], "full", tmp_path)}
    wrong = [
        (r["file"], r["expected"], answers[r["file"]]["verdict"], answers[r["file"]]["detail"])
        for r in rows
        if answers[r["file"]]["verdict"] not in r["expected"].split("|")
    ]
    assert wrong == []
    assert _breaches(list(answers.values())) == []


@pytest.mark.parametrize("corpus", [OWN, SHARED], ids=["own", "shared"])
def test_the_lock_alone_holds(corpus, tmp_path, traps):
    rows = _index(corpus)
    answers = _run([corpus / r["file"] for r in rows], "bypass", tmp_path)
    assert _breaches(answers) == []
    verdicts = {Path(a["path"]).name: a["verdict"] for a in answers}
    benign = [r["file"] for r in rows if r["expected_with_static_check_off"] == "accepted"]
    assert benign
    assert {verdicts[name] for name in benign} == {"accepted"}


def test_without_lock_and_check_the_programs_do_harm(tmp_path, traps):
    answers = _run([OWN / name for name in SAFE_UNLOCKED], "open", tmp_path)
    assert len(_breaches(answers)) >= 5, answers


def test_rejections_name_a_line_and_a_remedy(tmp_path, traps):
    rows = [r for r in _index(OWN) if r["expected"] == "rejected_static"]
    answers = _run([OWN / r["file"] for r in rows], "full", tmp_path)
    for answer in answers:
        assert answer["detail"].startswith(("line ", "the program is nested too deeply")), answer
