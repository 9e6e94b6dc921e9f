"""The command line as a user meets it: processes, exit codes, messages, what is loaded."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embodied.commands.main import COMMANDS
from embodied.core.assets import conf_dir

HEAVY = ("torch", "mujoco", "transformers", "hydra", "omegaconf", "gymnasium", "stable_baselines3", "numpy", "rich")
DOC = Path(__file__).resolve().parents[2] / "docs" / "your_own_task.md"


def cli(*words: str, cwd: Path, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY") and k != "EMBODIED_CONF"}
    return subprocess.run(
        [sys.executable, "-m", "embodied.commands.main", *words],
        cwd=cwd,
        env={**env, "COLUMNS": "160", **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def refused(*words: str, cwd: Path, **environment: str) -> str:
    """Runs a command that must end with one clear line and exit code 2; returns the line."""
    done = cli(*words, cwd=cwd, **environment)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert lines[-1].startswith("embodied: error: ")
    assert "Traceback" not in done.stderr
    assert not list(cwd.glob("runs/*/*")), "a refused command must not leave a run folder"
    return lines[-1]


@pytest.mark.parametrize("words", [["--help"], *[[command, "--help"] for command in COMMANDS]])
def test_help_loads_nothing_heavy(words, tmp_path):
    code = (
        "import sys; from embodied.commands.main import main; code = main(sys.argv[1:]);"
        f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    text, _, loaded = done.stdout.rpartition("LOADED ")
    assert loaded.strip() == "[]"
    assert "embodied" in text
    if len(words) == 2:
        assert f"embodied {words[0]}" in text


def test_every_command_has_a_module_with_help_and_run():
    folder = Path(__file__).resolve().parents[2] / "embodied" / "commands"
    for name, (module, line) in COMMANDS.items():
        text = (folder / f"{module.rpartition('.')[2]}.py").read_text()
        assert "HELP = " in text, name
        assert "def run(arguments" in text, name
        assert line


def test_import_is_light(tmp_path):
    code = f"import sys, embodied; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_help_and_completion_are_quick(tmp_path):
    for words in (["--help"], ["completion", "bash"]):
        best = min(_seconds(*words, cwd=tmp_path) for _ in range(3))
        assert best < 1.0, f"{words}: {best:.2f} s (a quiet machine needs about 0.1 s)"


def _seconds(*words: str, cwd: Path) -> float:
    began = time.perf_counter()
    assert cli(*words, cwd=cwd).returncode == 0
    return time.perf_counter() - began


def test_unknown_command(tmp_path):
    assert "Did you mean 'train'" in refused("trian", cwd=tmp_path)


def test_no_command_shows_the_usage(tmp_path):
    done = cli(cwd=tmp_path)
    assert done.returncode == 2
    assert "commands:" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["task=reech"], ["unknown task 'reech'", "Did you mean 'reach'"]),
        (["trainr=ppo"], ["'trainr'", "Did you mean 'trainer'"]),
        (["trainer.total_stps=3"], ["'total_stps'", "Did you mean 'total_steps'"]),
        (["seed=first"], ["'seed' must be a whole number", "'first'"]),
        (["llm=openai"], ["llm.model=<value>"]),
        (["+llm.api_key=hunter2"], ["secret"]),
        (["task.wrong=1"], ["'wrong'", "Known:"]),
        (["trusted_packages=[os.path]"], ["top-level"]),
        (["--dry"], ["--cfg job"]),
    ],
)
def test_mistakes_in_train(words, expected, tmp_path):
    line = refused("train", *words, cwd=tmp_path)
    for word in expected:
        assert word in line
    assert "hunter2" not in line


def test_a_missing_key_names_the_variable(tmp_path):
    done = cli("train", "task=reach", "llm=openai", "llm.model=m", "trainer.total_steps=64", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "OPENAI_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_untrusted_target_is_refused(tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "evil.yaml").write_text("_target_: os.system\ncommand: touch pwned\n")
    done = cli("train", "task=evil", "searchpath=[.]", cwd=tmp_path)
    assert done.returncode == 2
    assert "outside the packages" in done.stderr
    assert not (tmp_path / "pwned").exists()


def test_a_full_disk_is_one_clear_line(tmp_path):
    code = (
        "import errno, sys; from embodied.commands import main, listing\n"
        "def run(_): raise OSError(errno.ENOSPC, 'No space left on device', '/runs/x/checkpoint')\n"
        "listing.run = run; sys.exit(main.main(['list']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "disk full" in done.stderr
    assert "/runs/x/checkpoint" in done.stderr
    assert "runs_dir=" in done.stderr
    assert "Traceback" not in done.stderr


def test_interruption_and_bugs_have_their_own_exit_codes(tmp_path):
    for raised, expected in (("KeyboardInterrupt()", 130), ("ZeroDivisionError('sk-abcdefghijklmnopqrstu')", 1)):
        code = (
            "import sys; from embodied.commands import main, listing\n"
            f"def run(_): raise {raised}\n"
            "listing.run = run; sys.exit(main.main(['list']))"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == expected
        assert ("Traceback" in done.stderr) == (expected == 1)
        assert "[redacted]" in done.stderr or expected == 130


def test_terminal_escapes_in_errors_are_not_printed(tmp_path):
    done = cli("\x1b[31mtrain", cwd=tmp_path)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path):
    command = f"{sys.executable} -m embodied.commands.main list tasks | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_real_names(shell, tmp_path):
    script = cli("completion", shell, cwd=tmp_path).stdout
    assert "task=reach" in script
    for path in (conf_dir() / "llm").glob("*.yaml"):
        assert f"llm={path.stem}" in script
    for command in COMMANDS:
        assert command in script
    if shutil.which(shell):
        check = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, timeout=60)
        assert check.returncode == 0, check.stderr


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [("embodied tr", {"train"}), ("embodied train task=rea", {"reach"}), ("embodied runs comp", {"compare"})],
)
def test_completion_in_a_real_bash(line, expected, tmp_path):
    script = cli("completion", "bash", cwd=tmp_path).stdout
    words = re.split(r"(=)|\s+", line)
    words = [w for w in words if w]
    probe = (
        f'{script}\nCOMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; COMP_LINE="{line}";'
        ' COMP_POINT=${#COMP_LINE}; _embodied; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "--norc", "-c", probe], capture_output=True, text=True, timeout=60)
    assert set(done.stdout.split()) == expected, done.stderr


def test_lists(tmp_path):
    assert "reach" in cli("list", "tasks", cwd=tmp_path).stdout
    assert '"name": "replay"' in cli("list", "llms", "--json", cwd=tmp_path).stdout
    assert "Did you mean 'tasks'" in refused("list", "taks", cwd=tmp_path)


def test_doctor_examines_and_shows_no_values(tmp_path):
    done = cli("doctor", "--json", cwd=tmp_path, OPENAI_API_KEY="sk-very-secret-value-0123456789")
    assert done.returncode in (0, 1), done.stderr
    assert "OPENAI_API_KEY is set" in done.stdout
    assert "very-secret" not in done.stdout + done.stderr
    for topic in ("packages", "lock", "rendering", "threads", "models", "disk"):
        assert f'"topic": "{topic}"' in done.stdout


def test_composed_configurations_can_be_shown(tmp_path):
    for command in ("train", "watch"):
        done = cli(command, "--cfg", "job", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "seed: 0" in done.stdout
    assert not list(tmp_path.iterdir())


def blocks(doc: Path) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", doc.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.mark.timeout(600)
def test_the_walk_through_works_as_it_stands(tmp_path):
    binary = tmp_path / "bin" / "embodied"
    binary.parent.mkdir()
    binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m embodied.commands.main "$@"\n')
    binary.chmod(0o755)
    folder = tmp_path / "empty"
    folder.mkdir()
    script = "set -e\n" + "\n".join(blocks(DOC))
    env = {**os.environ, "PATH": f"{binary.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(list(folder.glob("runs/*/*/report.html"))) == 4
