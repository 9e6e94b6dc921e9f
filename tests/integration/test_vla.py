"""Record, fit, evaluate, serve: each command end to end on something tiny, killed and gone on with."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from embodied.data import doctor
from embodied.data.dataset import Dataset

TINY = [
    "head=l1",
    "backbone.picture_size=[16,16]",
    "backbone.width=32",
    "backbone.layers=1",
    "settings.batch_size=8",
    "settings.save_every=2",
    "settings.validate_every=2",
    "settings.warmup_steps=1",
    "settings.validation_share=0.25",
    "n_threads=1",
]
COMMAND = [sys.executable, "-m", "embodied.commands.main"]


def run(folder: Path, *words: str, code: int = 0) -> str:
    environment = {**os.environ, "EMBODIED_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*COMMAND, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def the_run(folder: Path, runs: str = "runs") -> Path:
    (found,) = [p for p in (folder / runs).glob("*/*") if p.is_dir()]
    return found


def weights(run_folder: Path) -> str:
    return hashlib.sha256((run_folder / "policy" / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vla")
    said = run(folder, "record", "tasks=[reach,press_button]", "dataset=d", "episodes=2", "width=32", "height=32")
    assert "reach: 2 episodes kept of" in said
    return folder


def test_a_recording_is_a_sound_dataset_with_the_world_beside_it(place):
    dataset = Dataset(place / "d")
    assert doctor.examine(place / "d") == []
    assert len(dataset.episodes) == 4
    assert dataset.tasks[0] != dataset.tasks[1]
    assert dataset.fps == 20
    assert dataset.info["robot_type"] == "so101"
    world = dataset.world(0)
    assert len(world["gripper.position"]) == dataset.episodes[0].length + 1
    assert np.abs(dataset.column("action")).max() <= 1.0
    assert any("Done" in text or "finished" in text for text in dataset.subtasks)
    # noise is on what is executed, not on what is taught
    apart = np.abs(dataset.column("action") - dataset.column("executed_action")).max(axis=1)
    per_episode = [apart[r.start : r.stop].max() for r in dataset.episodes]
    assert min(per_episode) == 0.0
    assert max(per_episode) > 0.05


def test_any_reward_can_be_evaluated_on_it_later(place):
    """The reward of the recorded worlds is that of the episode played again from its start."""
    from embodied.core.world import World
    from embodied.rl.writing import make_task

    dataset, task = Dataset(place / "d"), make_task("reach")
    world, row = dataset.world(1), dataset.episodes[1]
    after = {name: values[1:] for name, values in world.items()}
    reward = task.expert_reward().bind(reviewed=True)
    found = reward(World(task.schema, after), dataset.column("executed_action")[row.start : row.stop])
    total = np.asarray(found.total if hasattr(found, "total") else found[0])
    assert total.shape == (row.length,)
    assert np.isfinite(total).all()
    assert total[-1] > total[0]


def test_fit_evaluate_and_serve(place):
    said = run(place, "fit", "dataset=d", "settings.steps=4", *TINY)
    folder = the_run(place)
    assert (folder / "policy" / "manifest.json").exists()
    assert "validation" in said
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {row["kind"] for row in rows} == {"train", "validation"}
    said = run(place, "evaluate", f"policy={folder}", "tasks=[reach,press_button]", "episodes=2", "episode_steps=6")
    last = json.loads(said.strip().splitlines()[-1])
    assert last["episodes"] == 4
    assert last["low"] <= last["rate"] <= last["high"]
    assert sorted(p.name for p in (folder / "videos").iterdir()) == ["press_button.mp4", "reach.mp4"]
    page = (folder / "report.html").read_text()
    assert "of 4 episodes succeeded" in page
    assert page.count("data:video/mp4") == 2
    assert "loss of the action head" in page
    assert "is complete" in run(place, "fit", f"resume={folder}")
    _served(place, folder)


def _served(place: Path, folder: Path) -> None:
    from embodied.deploy.policy_client import PolicyClient
    from embodied.policies.vla_policy import VLAPolicy

    environment = {**os.environ, "EMBODIED_POLICY_TOKEN": "abc", "OMP_NUM_THREADS": "1"}
    words = ["serve", f"policy={folder}", "port=0", "n_threads=1"]
    server = subprocess.Popen([*COMMAND, *words], cwd=place, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        url = re.search(r"ws://\S+", server.stdout.readline()).group()
        near = VLAPolicy.load(folder / "policy")
        rng = np.random.default_rng(0)
        seen = {
            "observation.state": rng.normal(size=17).astype(np.float32),
            "observation.images.front": rng.integers(0, 255, (32, 32, 3), dtype=np.uint8),
        }
        with PolicyClient(url, token="abc", timeout_s=60.0) as far:
            assert far.about["fps"] == 20
            for policy in (far, near):
                policy.reset("Press the button.")
            assert np.allclose(far.act(seen), near.act(seen), atol=1e-5)
            assert far.said == near.said
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 130


def test_killed_while_recording_it_loses_the_open_episode_alone(place, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = ["record", "tasks=[reach]", "dataset=d", "episodes=500", "width=32", "height=32"]
    recording = subprocess.Popen([*COMMAND, *words], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    staging, end = tmp_path / "d" / "staging", time.monotonic() + 200
    while len(list(staging.glob("episode-*"))) < 4 and time.monotonic() < end:
        time.sleep(0.01)
    finished = len(list(staging.glob("episode-*")))
    recording.kill()
    recording.wait()
    assert finished >= 4
    said = run(tmp_path, "data", "doctor", "d", "--repair")
    assert int(re.search(r"packed (\d+)", said).group(1)) >= finished
    assert len(Dataset(tmp_path / "d").episodes) >= finished
    run(tmp_path, *words[:2], "dataset=d", "episodes=1", "width=32", "height=32")
    assert doctor.examine(tmp_path / "d") == []


def test_a_killed_fit_goes_on_to_the_same_weights(place, tmp_path):
    long = ["fit", f"dataset={place / 'd'}", "settings.steps=60", *TINY]
    run(tmp_path, *long, "runs_dir=straight")
    environment = {**os.environ, "EMBODIED_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    fitting = subprocess.Popen([*COMMAND, *long], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 200
    while not list(tmp_path.glob("runs/*/*/snapshots/step_*")) and time.monotonic() < end:
        time.sleep(0.01)
    fitting.kill()
    fitting.wait()
    folder = the_run(tmp_path)
    assert not (folder / "policy").exists(), "it was over before the kill: the test shows nothing"
    run(tmp_path, "fit", f"resume={folder}")
    assert weights(folder) == weights(the_run(tmp_path, "straight"))


def test_two_processes_fit_one_policy(place, tmp_path):
    """Through accelerate: half a batch each, gradients averaged."""
    environment = {**os.environ, "EMBODIED_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes=2", "--num_machines=1"]
    launch += ["--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0", "-m", "embodied.commands.main"]
    words = ["fit", f"dataset={place / 'd'}", "settings.steps=4", "settings.shift_pixels=0", *TINY]
    done = subprocess.run([*launch, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = the_run(tmp_path)
    run(tmp_path, *words, "runs_dir=alone")
    from safetensors.numpy import load_file

    two, one = (load_file(f / "policy" / "model.safetensors") for f in (folder, the_run(tmp_path, "alone")))
    assert all(np.allclose(two[k], one[k], atol=2e-3) for k in one)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["fit", "dataset=nowhere"], "is no dataset"),
        (["fit"], "give either dataset="),
        (["fit", "dataset=d", "head=fourrier"], "unknown head 'fourrier'"),
        (["fit", "dataset=d", "cameras=[observation.images.wrist]"], "lacks 'observation.images.wrist'"),
        (["fit", "dataset=d", "n_action_steps=99"], "must lie within 1 and chunk_size=16"),
        (["fit", "dataset=d", "backbone.width=33", "head=l1"], "width=33"),
        (["record", "tasks=[]", "dataset=x"], "name at least one"),
        (["record", "tasks=[hopper]", "cameras=[track]", "dataset=x"], "names no proprioception"),
        (["record", "tasks=[reach]", "dataset=d", "width=64"], "feature 'observation.images.front' is"),
        (["record", "tasks=[reach]", "dataset=x", "cameras=[ceiling]"], "unknown camera 'ceiling'"),
        (["evaluate"], "give either run="),
        (["evaluate", "policy=nowhere", "tasks=[reach]"], "no policy in nowhere"),
        (["data", "show", "d", "--episode", "9"], "has episodes 0 to 3"),
        (["serve", "policy=nowhere", "host=0.0.0.0"], "set \\$EMBODIED_POLICY_TOKEN"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(place, words, match):
    before = sorted(p for p in place.rglob("*") if "cache" not in p.parts)
    said = run(place, *words, code=2)
    assert re.search(match, said), said
    assert len(said.strip().splitlines()) == 1
    assert sorted(p for p in place.rglob("*") if "cache" not in p.parts) == before
