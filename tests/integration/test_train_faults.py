"""What a user meets when something goes wrong: one clear line, exit code 2, and nothing lost or half-written."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from tiny import ROOT, WORDS, events, one_line_error, only_run, run, start, until

from embodied.commands.main import main
from embodied.core.runs import RunFolder
from embodied.rewards.rollouts import record_rollouts
from embodied.rl.snapshot import newest_snapshot
from embodied.rl.writing import ROLLOUT_SEED, make_task

STEPS = "trainer.total_steps=4000"


# --- mistakes ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["task=reech"], "'reach'"),
        (["trainer=dqn"], "ppo"),
        (["reward=exprt"], "'expert'"),
        (["trainer.total_step=5"], "total_steps"),
        (["task.tolerance=0.1"], "tolerance_m"),
        (["trainer.total_steps=many"], "trainer.total_steps"),
        (["trainer.n_envs=0"], "trainer.n_envs=0 must be at least 1"),
        (["evaluation.candidates=0"], "at least 1"),
        (["seed=-1"], "seed=-1"),
        (["baselines=[expret]"], "expert, random"),
        (["task.episode_steps=0"], "episode_steps"),
        (["reward=text2reward", "llm=openai", "llm.model=m"], "OPENAI_API_KEY"),
        (["reward=text2reward", "llm=openai"], "llm.model=<value>"),
        (["reward=file"], "reward.path=<value>"),
        (["resume=/nowhere"], "embodied runs list"),
        (["allow_missing_sandbox_layers=[landlok]"], "landlock"),
        (["runs_dir=/proc/embodied"], "runs_dir=<folder>"),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy_and_leaves_nothing(words, remedy, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    given = [f"runs_dir={tmp_path / 'runs'}"] if "runs_dir" not in words[0] else []
    assert main(["train", *WORDS, STEPS, *given, *words]) == 2
    assert remedy in one_line_error(capsys.readouterr().err)
    assert not list((tmp_path / "runs").rglob("*"))
    assert [p.name for p in tmp_path.iterdir() if p.name != "runs"] == []


# --- rewards and simulations that go wrong only in training -----------------------------------------------
def beyond_the_probes() -> str:
    """A condition that no recorded episode meets, and most training episodes do after a second: a far goal."""
    rollouts = record_rollouts(make_task("reach"), seed=ROLLOUT_SEED)
    goals = rollouts.values["goal.position"][0]
    low, high = goals.min(axis=0).tolist(), goals.max(axis=0).tolist()
    return (
        f"(np.any(world.goal.position < np.array({low}), axis=-1)"
        f" | np.any(world.goal.position > np.array({high}), axis=-1)) & (world.time > 1.02)"
    )


def test_a_reward_that_turns_nan_in_one_environment_late(tmp_path):
    reward = tmp_path / "late.py"
    reward.write_text(
        "def reward(world, action):\n"
        "    near = -np.linalg.norm(world.goal.position - world.gripper.position, axis=-1)\n"
        f"    bad = {beyond_the_probes()}\n"
        "    return {'near': near, 'trap': np.where(bad, np.nan, 0.0)}\n"
    )
    done = run(
        "train", *WORDS, "trainer.n_envs=64", "trainer.total_steps=40000", "checkpoint_every_steps=1024",
        "reward=file", f"reward.path={reward}", f"runs_dir={tmp_path / 'runs'}",
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    message = one_line_error(done.stderr)
    where = re.search(
        r"training 'written' stopped at step (\d+): line 4: term 'trap' is not finite .*in environment (\d+), at time"
        r" ([\d.]+) s\) States: (\S+)", message
    )  # fmt: skip
    assert where, message
    assert int(where[1]) >= 64 * 20
    with np.load(where[4], allow_pickle=False) as states:
        assert states["world/time"][int(where[2])] > 1.0
        assert np.isfinite(states["states"]).all()
    found = only_run(tmp_path / "runs")
    assert found.result is None
    assert [e["event"] for e in found.events()][-1] == "training_fault"
    from safetensors.numpy import load_file

    snapshot = newest_snapshot(found / "checkpoints/written/snapshots")
    tensors = load_file(snapshot / "weights.safetensors")
    assert all(np.isfinite(t).all() for t in tensors.values() if t.dtype.kind == "f")


EXPLOSIVE = '''"""A task whose simulation diverges, but only in a batch of seven."""

import numpy as np

from embodied.sim.tasks import reach
from embodied.sim.tasks.reach import Reach

reward = reach.reward


class Explosive(Reach):
    name = "explosive"

    def control(self, action, states, last_control):
        control = super().control(action, states, last_control)
        if len(states) == 7 and states[3, 0] > 1.0:
            control[3] = np.nan
        return control
'''


def test_a_users_own_task_that_diverges(tmp_path):
    (tmp_path / "explosive.py").write_text(EXPLOSIVE)
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "explosive.yaml").write_text(
        "_target_: explosive.Explosive\ninstruction: Reach.\nepisode_steps: 60\naliases: {}\n"
    )
    done = run(
        "train", *WORDS, STEPS, "task=explosive", f"searchpath=[{tmp_path}]", "trusted_packages=[explosive]",
        "trainer.n_envs=7", f"runs_dir={tmp_path / 'runs'}",
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    message = one_line_error(done.stderr)
    assert "training 'written' stopped at step" in message
    assert "diverged in environment 3" in message
    assert (only_run(tmp_path / "runs") / "checkpoints/written/fault_states.npz").is_file()


# --- disks and neighbours ---------------------------------------------------------------------------------
def _unshare() -> list[str] | None:
    for command in (["unshare", "-m"], ["unshare", "-Urm"]):
        try:
            probe = subprocess.run(
                [*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if probe.returncode == 0:
            return command
    return None


def test_a_full_and_a_read_only_disk(tmp_path):
    unshare = _unshare()
    if unshare is None:
        pytest.skip("no mount namespaces here")
    words = ["train", *WORDS, "trainer.total_steps=12000"]
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        [*unshare, sys.executable, str(ROOT / "tests/support/full_disk.py"), str(disk), *words],
        capture_output=True, text=True, timeout=150, cwd=ROOT, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for when in ("", "resumed_full_"):
        assert found[f"{when}code"] == 2, found[f"{when}err"]
        message = one_line_error(found[f"{when}err"])
        assert "disk full" in message
        assert found["path"] in message
    assert found["snapshot"], "the snapshot of before is gone"
    assert found["resumed_code"] == 0, found["resumed_err"]
    assert found["resumes"], "it began anew"
    assert found["complete"]
    assert found["rest"] == []
    assert found["read_only_code"] == 2
    assert "cannot make the run folder" in one_line_error(found["read_only_err"])


@pytest.fixture
def running(tmp_path):
    process = start("train", *WORDS, "trainer.total_steps=2000000", f"runs_dir={tmp_path}")
    try:
        until(lambda: events(tmp_path, "training_checkpoint"), "a snapshot")
        yield process, only_run(tmp_path).path
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_two_processes_on_one_run_folder(running, tmp_path, capsys):
    process, path = running
    assert main(["train", f"resume={path}"]) == 2
    assert f"is in use by process {process.pid}" in one_line_error(capsys.readouterr().err)
    seen = len(events(tmp_path, "training_checkpoint"))
    until(lambda: len(events(tmp_path, "training_checkpoint")) > seen, "the first one going on")
    assert process.poll() is None
    assert psutil.Process(process.pid).children()


def test_a_policy_of_a_run_that_has_none_yet(running, capsys):
    assert main(["evaluate", f"run={running[1]}"]) == 2
    assert "no policy in" in one_line_error(capsys.readouterr().err)
    assert running[0].poll() is None


def test_looking_at_a_running_run_does_not_touch_its_temporary_files(tmp_path):
    folder = RunFolder.create(tmp_path, "x")
    folder.start("a: 1\n", [], {})
    folder.lock()
    being_written: Path = folder / ".state.json.abc.tmp"
    being_written.write_text("half")
    RunFolder.open(folder.path)
    assert being_written.exists()
