"""Every command of the README and the docs runs: on tiny settings where it trains, composed where it needs a model."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("text2reward", "security", "llm", "simulation", "metaworld", "planning", "talk", "robots", "vla")
    ),
]
TINY = [
    "trainer.total_steps=2000",
    "trainer.n_envs=8",
    "evaluation.episodes=2",
    "evaluation.selection_episodes=2",
    "evaluation.candidates=1",
    "video.episodes=0",
]
SMALL_FIT = ["head=l1", "backbone.picture_size=[32,32]", "backbone.width=32", "backbone.layers=1", "settings.steps=2"]
SMALL_RECORD = ["episodes=1", "width=32", "height=32", "noise=[0]"]
NEEDS_A_MODEL = ("llm=openai", "llm=manual", "llm=local")
OUTSIDE = ("git ", "cd ", "make ", "export ", "pip ")  # shell and set-up: the pipeline itself runs `make`
PROGRAM = """import numpy as np


def reward(world, action):
    distance = np.linalg.norm(world.drawer.handle_position - world.gripper.position, axis=-1)
    return {"reach": 1.0 - np.tanh(5.0 * distance), "open": 3.0 * world.drawer.opening_fraction}
"""


def commands(page: str) -> list[str]:
    """The command lines of a page's bash blocks, comments and continuation lines resolved."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].split(" # ")[0].strip() for line in lines if line.strip() and line.strip()[0] != "#"]


CASES = [(page, line) for page in PAGES for line in commands(page) if not line.startswith(OUTSIDE)]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with a reward program and a finished run."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "my_reward.py").write_text(PROGRAM)
    (folder / "my_talk.txt").write_text("Stand up on your two back feet like a human.\n/undo\n")
    run(folder, ["embodied", "train", "task=reach", "reward=expert", "baselines=[]", *TINY])
    (finished,) = folder.glob("runs/*/*")
    tasks = "tasks=[metaworld/window-open,metaworld/window-close]"
    run(folder, ["embodied", "record", tasks, "dataset=datasets/windows", *SMALL_RECORD])
    run(folder, ["embodied", "fit", "dataset=datasets/windows", "runs_dir=fits", *SMALL_FIT])
    return folder, finished


def start(folder: Path, words: list[str]) -> subprocess.CompletedProcess:
    if words[0] == "embodied":
        words = [str(Path(sys.executable).parent / "embodied"), *words[1:]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240
    )


def run(folder: Path, words: list[str]) -> subprocess.CompletedProcess:
    done = start(folder, words)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    return done


def runnable(line: str, finished: Path) -> list[str]:
    """The words of a documented command, on a small scale."""
    line = line.replace("<run folder>", str(finished)).replace("runs/<date>/<run>/llm", str(finished))
    line = line.replace("<fit folder>", "".join(str(p) for p in finished.parents[2].glob("fits/*/*")))
    line = re.sub(r"<[^>]*>", "name", line)
    words = shlex.split(line)
    if words[0] == "python":
        return [sys.executable, str(ROOT / words[1]), "--help"]
    if words[0] == "pytest":
        return [sys.executable, "-m", "pytest", "--collect-only", "-q", str(ROOT / words[1])]
    words = [str(ROOT / w) if w.startswith("tests/") else w for w in words]
    if words[1] == "train" and "--cfg" not in words:
        composed = any(w in NEEDS_A_MODEL for w in words)
        words += ["--cfg", "job"] if composed or "resume=" in line or "llm.folder" in line else TINY
    if words[1:2] == ["talk"] and ("ui=web" in words or "<run folder>" in line):
        words += ["--cfg", "job"]
    if words[1] == "record":
        words = [w for w in words if not w.startswith("episodes=")] + SMALL_RECORD
    if words[1] == "fit":
        words = [w for w in words if not w.startswith("head=")] + SMALL_FIT
    if words[1] == "evaluate" and words[2].startswith("policy="):
        words = [w for w in words if not w.startswith("episode")] + ["episodes=1", "episode_steps=4"]
    if words[1:3] == ["train", "-m"]:
        words = [w.replace("seed=0,1,2", "seed=0,1") for w in words]
    return words


@pytest.mark.parametrize(("page", "line"), CASES, ids=[f"{p}: {c}" for p, c in CASES])
def test_every_documented_command_runs(page, line, workplace):
    folder, finished = workplace
    words = runnable(line, finished)
    if words[:3] == ["embodied", "reward", "check"] and "hostile" in line:
        done = start(folder, words)
        assert '"rejected_static"' in done.stdout
        return
    if words[:2] == ["embodied", "doctor"]:
        done = start(folder, words)
        assert done.returncode in (0, 1), done.stderr
        return
    run(folder, words)


def test_the_pages_hold_commands():
    assert {page for page, _ in CASES} == set(PAGES)


def test_the_figures_are_those_of_the_results():
    script = ROOT / "benchmarks" / "readme_figures.py"
    assert subprocess.run([sys.executable, script, "--check"], timeout=60).returncode == 0
