"""Trainings that take a second, and the command line around them."""

from __future__ import annotations

import functools
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.errors import RenderingError
from embodied.core.files import append_jsonl, read_jsonl
from embodied.core.reward import BoundReward, RewardProgram
from embodied.core.runs import RunFolder, find_runs
from embodied.rl.algorithms import make_algorithm
from embodied.rl.vec_env import RewardVecEnv
from embodied.rl.writing import make_task
from embodied.sim.batch_env import BatchEnv
from embodied.sim.randomization import Randomization
from embodied.sim.render import Renderer

ROOT = Path(__file__).resolve().parents[2]
PPO = {"n_steps": 16, "batch_size": 64, "n_epochs": 2, "gamma": 0.97, "learning_rate": 1e-3, "net_arch": [8]}
SAC = {
    "learning_starts": 32, "buffer_size": 400, "batch_size": 16, "train_freq": 1, "gradient_steps": 1,
    "gamma": 0.97, "net_arch": [8], "activation": "relu",
}  # fmt: skip
SETTINGS = {"ppo": PPO, "sac": SAC}
# 8 environments, rollouts of 128 steps, a snapshot after every second one.
WORDS = (
    "task=reach", "reward=expert", "baselines=[]", "trainer.n_envs=8", "trainer.settings.n_steps=16",
    "trainer.settings.batch_size=64", "trainer.settings.n_epochs=1", "trainer.settings.net_arch=[8]",
    "checkpoint_every_steps=256", "evaluation.episodes=4", "evaluation.selection_episodes=2",
    "evaluation.candidates=2", "video.episodes=0",
)  # fmt: skip


def make_env(
    n_envs: int = 4, *, seed: int = 0, task: str = "reach", randomized: bool = False, reward: Any = None, **more: Any
) -> RewardVecEnv:
    """A rewarded batch of episodes that start together; with the task's expert reward unless another is given."""
    more = {"stagger_starts": False, **more}
    made = make_task(task)
    noise = None
    if randomized:
        noise = Randomization(mass_factor=1.3, friction_factor=1.3, max_delay_steps=2, observation_noise_std=0.01)
    batch = BatchEnv(made, n_envs=n_envs, seed=seed, randomization=noise)
    bound = made.expert_reward().bind(reviewed=True) if reward is None else reward
    return RewardVecEnv(batch, bound, gamma=0.97, **{"stagger_starts": False, **more})


def bound(source: str, *, batched: bool = True) -> BoundReward:
    """A program of a test, vouched for by its author."""
    evaluation = "batched" if batched else "by_row"
    return RewardProgram(source, "person", "reach", evaluation=evaluation).bind(reviewed=True)


def make_learner(algorithm: str, env: RewardVecEnv, **changes: Any):
    """PPO or SAC with a very small network."""
    return make_algorithm(algorithm, {**SETTINGS[algorithm], **changes}, env, 0)


def request(folder: Path, algorithm: str = "ppo", **changes: Any) -> dict[str, Any]:
    """What `embodied.rl.trainer.prepare` is told, for a training of a second."""
    task = make_task("reach")
    return {
        "task": {"_target_": "embodied.sim.tasks.reach.Reach", "instruction": task.instruction},
        "randomization": None,
        "algorithm": algorithm,
        "settings": SETTINGS[algorithm],
        "seed": 0,
        "n_envs": 8,
        "n_threads": 0,
        "total_steps": 1024 if algorithm == "ppo" else 480,
        "normalize_observations": True,
        "normalize_rewards": True,
        "freeze_after": None if algorithm == "ppo" else 200,
        "checkpoint_every_steps": 128 if algorithm == "ppo" else 40,
        "policy_every_steps": 256,
        "progress_every_steps": 256,
        "trusted_packages": [],
        "program": task.expert_reward().to_json(),
        "folder": str(folder),
        **changes,
    }


def command(*words: str) -> list[str]:
    """The command line of `embodied <words>` with this interpreter."""
    return [sys.executable, "-m", "embodied.commands.main", *words]


def start(*words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> subprocess.Popen:
    """Starts a command in a process group of its own, open to Ctrl-C even where the tests themselves ignore it."""
    return subprocess.Popen(
        command(*words), env={**os.environ, **(env or {})}, cwd=cwd or ROOT, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def run(
    *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess:
    """Runs a command to its end."""
    process = start(*words, env=env, cwd=cwd)
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def only_run(runs_dir: Path) -> RunFolder:
    """The one run folder under `runs_dir`."""
    (found,) = find_runs(runs_dir)
    return found


def until(condition: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
    """Polls until the condition gives something true, and returns it."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {timeout_s:g} s: {what}")


def events(runs_dir: Path, kind: str) -> list[dict[str, Any]]:
    """Events of one kind of the run under `runs_dir`; empty while there is no run."""
    runs = find_runs(runs_dir) if runs_dir.is_dir() else []
    return [row for run_ in runs for row in run_.events() if row["event"] == kind]


def weights_sha256(runs_dir: Path) -> str:
    """Hash of the final weights of the run under `runs_dir`."""
    return events(runs_dir, "training_done")[-1]["weights_sha256"]


def one_line_error(stderr: str) -> str:
    """The error of a command that failed as a user's mistake does: one line, no traceback."""
    lines = [line for line in stderr.splitlines() if line.startswith("embodied: error: ")]
    assert len(lines) == 1, stderr
    assert "Traceback" not in stderr, stderr
    return lines[0]


def random_actions(steps: int, n_envs: int, size: int, seed: int = 0) -> np.ndarray:
    """Uniform actions `(steps, n_envs, size)`."""
    return np.random.default_rng(seed).uniform(-1, 1, (steps, n_envs, size)).astype(np.float32)


class FileChannel:
    """What a worker talks to, with its messages in a file: a training without a lock, in a child of the test.

    Args:
        path: JSON lines.
        stop_after: rollout boundaries after which the parent seems to ask for a stop.
        on_beat: called at every environment step, with its number.
    """

    def __init__(self, path: Path, stop_after: int | None = None, on_beat: Callable[[int], None] | None = None) -> None:
        self.path, self.stop_after, self.on_beat = path, stop_after, on_beat
        self.boundaries = self.steps = 0

    @property
    def stop_requested(self) -> bool:
        self.boundaries += 1
        return self.stop_after is not None and self.boundaries > self.stop_after

    def send(self, message: Mapping[str, Any]) -> None:
        append_jsonl(self.path, dict(message))

    def beat(self) -> None:
        self.steps += 1
        if self.on_beat is not None:
            self.on_beat(self.steps)


def train_in_child(
    told: Mapping[str, Any],
    *,
    stop_after: int | None = None,
    poison: Callable[[RewardVecEnv, int], None] | None = None,
    max_file_bytes: int | None = None,
    kill_after_cpu_s: float | None = None,
) -> list[dict[str, Any]]:
    """Runs the training worker's own code in a forked child and gives its messages.

    Args:
        told: see `request`.
        stop_after: asks for a stop after so many rollout boundaries.
        poison: called with the environments and the step's number at every step.
        max_file_bytes: limit on the size of a file, as a full disk would be.
        kill_after_cpu_s: SIGKILL when the child has used so much processor time, however busy the machine is.
    """
    path = Path(told["folder"]) / "messages.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    _warm_up()
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_train, args=(dict(told), path, stop_after, poison, max_file_bytes))
    child.start()
    if kill_after_cpu_s is None:
        child.join(60.0)
    else:
        while child.is_alive() and cpu_seconds(child.pid) < kill_after_cpu_s:
            time.sleep(0.001)
    if child.is_alive():
        assert kill_after_cpu_s is not None, "the training hangs"
        child.kill()
        child.join()
    else:
        assert child.exitcode == 0
    return list(read_jsonl(path))


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used; infinite once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("inf")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@functools.cache
def _warm_up() -> None:
    """Loads what torch loads at the first update, so that not every child pays for it."""
    make_learner("ppo", make_env(4)).learn(64)


def _train(told: dict[str, Any], path: Path, stop_after: int | None, poison: Any, max_file_bytes: int | None) -> None:
    from embodied.core import trust
    from embodied.rl import trainer

    trust.mark_locked({"by": "a test"})
    context = trainer.prepare(told)
    if max_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    on_beat = None if poison is None else lambda step: poison(context.env, step)
    trainer.run(context, FileChannel(path, stop_after, on_beat))


def of_kind(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The messages of one kind."""
    return [message for message in messages if message["kind"] == kind]


@functools.cache
def opengl_works() -> bool:
    """Whether pictures can be drawn on this machine."""
    try:
        with Renderer(make_task("reach"), width=16, height=16):
            return True
    except RenderingError:
        return False
