"""Killed at any moment, a training goes on to the same weights as if nothing had happened."""

from __future__ import annotations

import os
import random
import resource
import signal
import time

import psutil
import pytest
from tiny import (
    WORDS,
    events,
    of_kind,
    one_line_error,
    only_run,
    request,
    run,
    start,
    train_in_child,
    until,
    weights_sha256,
)  # fmt: skip

from embodied.commands.main import main
from embodied.rl.snapshot import newest_snapshot

STEPS = "trainer.total_steps=4000"


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Weights and result of the uninterrupted run."""
    runs_dir = tmp_path_factory.mktemp("whole")
    done = run("train", *WORDS, STEPS, f"runs_dir={runs_dir}")
    assert done.returncode == 0, done.stderr
    return weights_sha256(runs_dir), only_run(runs_dir).result


@pytest.fixture
def running(tmp_path):
    """A training that has written some snapshots, and its locked worker."""
    process = start("train", *WORDS, STEPS, f"runs_dir={tmp_path}")
    try:
        until(lambda: len(events(tmp_path, "training_checkpoint")) >= 3, "three snapshots")
        (worker,) = psutil.Process(process.pid).children(recursive=True)
        yield process, worker
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def assert_resumes_to(expected, runs_dir):
    digest, result = expected
    interrupted = only_run(runs_dir)
    assert interrupted.result is None
    assert newest_snapshot(interrupted / "checkpoints/written/snapshots") is not None
    done = run("train", f"resume={interrupted.path}")
    assert done.returncode == 0, done.stderr
    assert len(events(runs_dir, "training_resumed")) == 1, "it did not go on from a snapshot"
    assert weights_sha256(runs_dir) == digest
    fresh = only_run(runs_dir).result
    assert {**fresh, "wall_s": 0} == {**result, "wall_s": 0}, "another policy was chosen"
    assert not list(interrupted.path.rglob("*.tmp"))


def test_parent_killed(running, expected, tmp_path):
    process, worker = running
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGKILL)  # its group; the worker has a session of its own
    assert process.wait() == -signal.SIGKILL
    until(lambda: gone(worker), "the worker's death", timeout_s=2.0)
    assert time.monotonic() - began < 5.0
    assert_resumes_to(expected, tmp_path)


def test_worker_killed(running, expected, tmp_path):
    process, worker = running
    worker.kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    message = one_line_error(err)
    assert "the worker of training 'written' ended early: ended by SIGKILL" in message
    assert_resumes_to(expected, tmp_path)


def test_interrupted_by_the_keyboard(running, expected, tmp_path):
    process, worker = running
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "embodied: interrupted" in err
    assert "Traceback" not in err
    assert gone(worker)
    # The snapshot is of the moment of the interruption, not of the last regular one.
    newest = newest_snapshot(only_run(tmp_path) / "checkpoints/written/snapshots")
    assert int(newest.name.partition("_")[2]) >= events(tmp_path, "training_checkpoint")[-1]["step"]
    assert_resumes_to(expected, tmp_path)


def test_interrupted_twice_ends_at_once_and_what_may_change(running, tmp_path, capsys):
    process, worker = running
    psutil.Process(worker.pid).suspend()  # it cannot answer the first request
    os.killpg(process.pid, signal.SIGINT)
    # Until the parent has asked for a stop, a second interrupt could be taken for the first.
    until(lambda: process.poll() is None and psutil.Process(process.pid).status() != psutil.STATUS_RUNNING, "a wait")
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=15)
    assert process.returncode == 130, err
    assert gone(worker)
    path = only_run(tmp_path).path
    assert newest_snapshot(path / "checkpoints/written/snapshots") is not None
    for word in ("seed=3", "trainer.total_steps=7000", "task=ant"):
        assert main(["train", f"resume={path}", word]) == 2
        assert "a resumed run keeps its" in one_line_error(capsys.readouterr().err)
    assert main(["train", f"resume={path}", "evaluation.episodes=6", "checkpoint_every_steps=100000"]) == 0
    assert only_run(tmp_path).result["success"]["episodes"] == 6


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_killed_at_random_moments(algorithm, tmp_path):
    """Many rounds of the worker alone, with a snapshot at every boundary: most kills fall into a write."""
    often = {"checkpoint_every_steps": 1, "total_steps": 4096 if algorithm == "ppo" else 800}
    train_in_child(request(tmp_path / "warm", algorithm, total_steps=64))  # loads what later children share
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    (whole,) = of_kind(train_in_child(request(tmp_path / "whole", algorithm, **often)), "done")
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    undisturbed_s = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime
    told, rng, kills, resumed = request(tmp_path / "killed", algorithm, **often), random.Random(1), 0, []
    while True:
        # The first rounds are short against a whole training; later ones longer, so that there is an end.
        messages = train_in_child(told, kill_after_cpu_s=(rng.uniform(0.05, 0.3) + 0.02 * kills) * undisturbed_s)
        resumed += [m["step"] for m in of_kind(messages, "resumed")]
        if done := of_kind(messages, "done"):
            break
        kills += 1
        assert kills < 40, "no progress"
    assert done == [whole]
    assert kills >= 2
    assert resumed == sorted(resumed), "a round went on from before where an earlier one began"
