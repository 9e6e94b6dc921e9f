"""Trainings from the outside: which policy is taken, and what is believed of what a worker says."""

from __future__ import annotations

import errno
from itertools import pairwise

import pytest
from tiny import make_env, make_learner

from embodied.core.errors import CheckpointError, ConfigError, DivergenceError, RewardCodeError, SandboxError
from embodied.core.files import read_json, write_json
from embodied.core.reward import RewardProgram
from embodied.core.runs import RunFolder
from embodied.rl.algorithms import actor
from embodied.rl.job import EVALUATE_SEED, FINAL_SEED, SELECTION_SEED, Job, Trainer, _error_of
from embodied.rl.pipeline import Pipeline
from embodied.rl.writing import ROLLOUT_SEED, make_task, shipped_library
from embodied.sandbox.process import End


@pytest.fixture(scope="module")
def policy():
    env = make_env(2)
    return actor(make_learner("ppo", env), env)


@pytest.fixture
def job(tmp_path):
    task = make_task("reach")
    return Job("written", tmp_path / "job", task.expert_reward(), {})


@pytest.fixture
def trainer():
    rows = []
    made = Trainer(make_task("reach"), 0, 2, lambda job, row: rows.append((job, row)))
    made.rows = rows
    return made


def test_the_best_candidate_is_the_most_successful_then_steadiest_then_latest(trainer, job, policy):
    for step in (10, 20, 30, 40):
        policy.save(job.folder / f"policies/step_{step}")
    job.candidates = [
        (0.5, 0.2, 10, "policies/step_10"), (0.9, 0.1, 20, "policies/step_20"),
        (0.9, 0.4, 30, "policies/step_30"), (0.9, 0.4, 40, "policies/step_40"),
    ]  # fmt: skip
    assert trainer.best(job)[1] == 40
    job.candidates.reverse()  # whatever the order in which they were measured
    assert trainer.best(job)[1] == 40
    job.candidates.reverse()
    job.candidates.pop()
    assert trainer.best(job)[1] == 30


def test_a_ledger_cannot_lead_outside_the_folder(trainer, job):
    job.candidates = [(1.0, 1.0, 1, "../../somebody_elses_policy")]
    with pytest.raises(SandboxError, match="outside its folder"):
        trainer.best(job)


def test_no_candidate(trainer, job):
    with pytest.raises(CheckpointError, match="left no policy"):
        trainer.best(job)


def test_a_candidate_is_measured_here_and_once(trainer, job, policy):
    policy.save(job.folder / "policies/step_0000000064")
    said = {"kind": "policy", "step": 64, "path": "policies/step_0000000064", "success": 1.0}
    trainer._handle(job, said)
    trainer._handle(job, said)  # a resumed training exports it again
    assert job.candidates == [(0.0, 0.0, 64, "policies/step_0000000064")]
    assert read_json(job.ledger)["candidates"] == [list(job.candidates[0])]
    assert not job.ledger.is_relative_to(job.folder)
    assert [row["rate"] for _, row in trainer.rows if row["kind"] == "evaluation"] == [0.0, 0.0]


def test_choice_and_report_use_starts_of_their_own_that_no_training_has(job, policy):
    """Choosing on the starts of the report would flatter it; each run has starts of its own for both."""
    policy.save(job.folder / "policies/step_0000000064")
    used = []
    for seed in (0, 1, SELECTION_SEED - 1):
        rows = []
        trainer = Trainer(make_task("reach"), seed, 2, lambda job, row, rows=rows: rows.append(row))
        trainer._measure(job, 64, "policies/step_0000000064")
        used += [rows[0]["seed"], trainer.report_success(policy, 2).seed]
    assert len(set(used)) == len(used)
    assert min(used) >= SELECTION_SEED, "a seed that a training can have"
    apart = (SELECTION_SEED, FINAL_SEED, ROLLOUT_SEED, EVALUATE_SEED)
    assert all(later - earlier >= SELECTION_SEED for earlier, later in pairwise(apart))


def test_candidates_of_before_an_interruption(trainer, job, policy):
    policy.save(job.folder / "policies/step_0000000064")
    policy.save(job.folder / "policies/step_0000000128")
    (job.folder / "policies/step_0000000192").mkdir()  # killed before anything was written
    row = [0.75, 0.5, 64, "policies/step_0000000064"]
    write_json(job.ledger, {"candidates": [row], "done": None})
    job.recall()
    trainer._measure_known(job)
    assert job.candidates == [tuple(row), (0.0, 0.0, 128, "policies/step_0000000128")]


@pytest.mark.parametrize("path", ["../../outside", "/tmp", "policies/../../x"])
def test_a_worker_cannot_name_a_policy_outside_its_folder(trainer, job, path):
    job.folder.mkdir()
    with pytest.raises(SandboxError, match="outside its folder"):
        trainer._handle(job, {"kind": "policy", "step": 1, "path": path})


def test_a_forged_policy_is_refused(trainer, job):
    folder = job.folder / "policies/step_1"
    folder.mkdir(parents=True)
    write_json(folder / "manifest.json", {"format": "embodied.mlp_policy/1", "sha256": "0"})
    (folder / "policy.safetensors").write_bytes(b"\x80\x04cposix\nsystem\n")
    with pytest.raises(CheckpointError):
        trainer._handle(job, {"kind": "policy", "step": 1, "path": "policies/step_1"})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("RewardCodeError", RewardCodeError), ("DivergenceError", DivergenceError),
        ("CheckpointError", CheckpointError), ("SystemExit", SandboxError),
    ],
)  # fmt: skip
def test_faults_become_errors_with_step_and_states(job, name, kind):
    error = _error_of(job, {"error": name, "message": "why", "step": 7, "states": "fault_states.npz"})
    assert type(error) is kind
    text = str(error)
    assert "training 'written' stopped at step 7: why" in text
    assert str(job.folder / "fault_states.npz") in text


def test_a_full_disk_in_the_worker_is_a_full_disk_here(job):
    fault = {"error": "OSError", "message": "No space left", "errno": errno.ENOSPC, "step": 7, "states": None}
    error = _error_of(job, fault)
    assert isinstance(error, OSError)
    assert (error.errno, error.filename) == (errno.ENOSPC, str(job.folder))


def test_a_worker_that_dies_is_reported_with_how(trainer, job):
    end = End("signal", "ended by SIGKILL", signal="SIGKILL", stderr="last words")
    with pytest.raises(SandboxError, match=r"(?s)training 'written' ended early: ended by SIGKILL.*last words"):
        trainer._conclude(job, end)


CONFIG = {
    "trainer": {"total_steps": 10, "n_envs": 1},
    "checkpoint_every_steps": 5,
    "evaluation": {"episodes": 1, "selection_episodes": 1, "candidates": 1},
    "seed": 0,
    "baselines": [],
    "task": {"_target_": "embodied.sim.tasks.reach.Reach", "instruction": "Reach."},
}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"seed": -1}, "seed=-1 must lie between 0 and"),
        ({"seed": 10_000_000}, "seed=10000000"),
        ({"checkpoint_every_steps": 0}, "checkpoint_every_steps=0 must be at least 1"),
        ({"trainer": {"total_steps": 0, "n_envs": 1}}, "trainer.total_steps=0"),
        ({"trainer": {"total_steps": 10, "n_envs": 0}}, "trainer.n_envs=0"),
        ({"evaluation": {"episodes": 1, "selection_episodes": 1, "candidates": 0}}, "evaluation.candidates=0"),
        ({"baselines": ["expret"]}, "expret"),
    ],
)
def test_numbers_are_checked_before_anything_begins(changes, why):
    with pytest.raises(ConfigError, match=why):
        Pipeline({**CONFIG, **changes}, None, print)


def test_the_library_holds_the_users_own_task_too():
    own = {**CONFIG, "task": {**CONFIG["task"], "_target_": f"{__name__}.OwnReach"}}
    shipped = {entry.program.task for entry in shipped_library()}
    assert {e.program.task for e in Pipeline(CONFIG, None, print)._library()} == shipped
    found = Pipeline(own, None, print, trusted_packages=(__name__,))._library()
    assert [e.program.task for e in found if e.program.task not in shipped] == ["own_reach"]
    assert all("def reward(" in e.program.source for e in found)


class Careless:
    """A writer that does not check what it gives out."""

    def __init__(self, *, tools):
        self.tools = tools

    def propose(self, task_description, feedback_history, n):
        return [RewardProgram("import os\ndef reward(world, action):\n    return 0.0\n", "careless", "reach")]


def test_a_program_that_is_not_accepted_never_gets_into_the_run_folder(tmp_path):
    config = {**CONFIG, "reward": {"_target_": f"{__name__}.Careless"}, "allow_missing_sandbox_layers": []}
    pipeline = Pipeline(config, RunFolder(tmp_path), print, trusted_packages=(__name__,))
    with pytest.raises(RewardCodeError, match=r"writer 'careless': import of 'os'"):
        pipeline.program()
    assert not list(tmp_path.rglob("program.*"))


def reward(world, action):
    return {"time": world.time}


class OwnReach(type(make_task("reach"))):
    name = "own_reach"
