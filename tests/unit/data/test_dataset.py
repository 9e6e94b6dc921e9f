"""Datasets: what goes in comes out, in LeRobot's layout; nothing finished is ever lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.core.errors import CheckpointError, ConfigError, UnknownNameError
from embodied.data import doctor, layout
from embodied.data.dataset import Dataset
from embodied.data.layout import Feature
from embodied.data.writer import DatasetWriter

LEROBOT = Path(__file__).parents[2] / "data" / "lerobot_0_4_4"
FEATURES = {
    "observation.state": Feature("float32", (3,), ("x", "y", "z")),
    "action": Feature("float32", (2,)),
    "grid": Feature("float64", (2, 3)),
    "next.success": Feature("bool", (1,)),
    "note": Feature("string", (1,)),
    "observation.images.front": Feature("video", (32, 48, 3)),
}


def picture(episode: int, t: int) -> np.ndarray:
    """Flat colours: what a film keeps well."""
    found = np.zeros((32, 48, 3), np.uint8)
    found[:, :24], found[:, 24:] = (40 * episode % 200, 5 * t % 250, 100), (90, 90, 20 * t % 250)
    return found


def frame(episode: int, t: int) -> dict:
    rng = np.random.default_rng([episode, t])
    return {
        "observation.state": rng.normal(size=3),
        "action": rng.uniform(-1, 1, 2),
        "grid": rng.normal(size=(2, 3)),
        "next.success": t > 3,
        "note": f"{episode}/{t}",
        "observation.images.front": picture(episode, t),
    }


def fill(writer: DatasetWriter, episodes, length=lambda e: 5 + e) -> None:
    for e in episodes:
        for t in range(length(e)):
            writer.add(frame(e, t), f"task {e % 2}", "near" if t < 2 else "far")
        writer.save_episode({"gripper.position": np.full((length(e) + 1, 3), e)})


@pytest.fixture
def made(tmp_path):
    with DatasetWriter(tmp_path / "d", features=FEATURES, fps=20, robot_type="toy") as writer:
        fill(writer, range(3))
    return tmp_path / "d"


def test_what_goes_in_comes_out(made):
    dataset = Dataset(made)
    frames = [frame(e, t) for e in range(3) for t in range(5 + e)]
    for key in ("observation.state", "action"):
        assert np.array_equal(dataset.column(key), np.stack([f[key] for f in frames]).astype(np.float32))
    assert np.array_equal(dataset.column("grid"), np.stack([f["grid"] for f in frames]))
    assert dataset.column("next.success").tolist() == [f["next.success"] for f in frames]
    assert dataset.column("note").tolist() == [f["note"] for f in frames]
    assert [dataset.tasks[i] for i in dataset.column("task_index")[:6]] == ["task 0"] * 5 + ["task 1"]
    assert [dataset.subtasks[i] for i in dataset.column("subtask_index")[:4]] == ["near", "near", "far", "far"]
    assert np.allclose(dataset.column("timestamp")[5:8], [0.0, 0.05, 0.1])
    for row in dataset.episodes:
        seen = dataset.pictures("observation.images.front", row.index)
        wanted = np.stack([picture(row.index, t) for t in range(row.length)])
        assert np.abs(seen.astype(int) - wanted).mean() < 4.0
    assert np.array_equal(dataset.pictures("observation.images.front", 2, 3, 2), seen[3:5])
    assert dataset.world(1)["gripper.position"].tolist() == [[1, 1, 1]] * 7
    assert doctor.examine(made) == []


def test_it_is_continued_without_touching_what_is_there(made):
    old = {p: p.read_bytes() for p in made.rglob("*/file-000.*")}
    with DatasetWriter(made) as writer:
        fill(writer, [3])
    assert all(p.read_bytes() == content for p, content in old.items())
    dataset = Dataset(made)
    assert [row.length for row in dataset.episodes] == [5, 6, 7, 8]
    assert dataset.column("note")[-1] == "3/7"
    assert np.abs(dataset.pictures("observation.images.front", 3)[5].astype(int) - picture(3, 5)).mean() < 4.0
    values = dataset.column("action").astype(float)
    for name, true in (("mean", values.mean(0)), ("std", values.std(0)), ("q10", np.quantile(values, 0.1, axis=0))):
        assert np.allclose(dataset.stats["action"][name], true, atol=1e-6), name
    assert doctor.examine(made) == []


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), packs=st.sets(st.integers(0, 3)))
@settings(max_examples=15, deadline=None)
def test_packing_at_any_moment_changes_nothing(tmp_path_factory, lengths, packs):
    folder = tmp_path_factory.mktemp("d") / "d"
    with DatasetWriter(folder, features={k: FEATURES[k] for k in ("action", "note")}, fps=10) as writer:
        for e, n in enumerate(lengths):
            for t in range(n):
                writer.add({k: frame(e, t)[k] for k in ("action", "note")}, "do it")
            writer.save_episode()
            if e in packs:
                writer.pack()
    dataset = Dataset(folder)
    assert [row.length for row in dataset.episodes] == lengths
    assert dataset.column("note").tolist() == [f"{e}/{t}" for e, n in enumerate(lengths) for t in range(n)]


@pytest.mark.parametrize("kind", ["video", "image"])
def test_lerobots_own_files_are_read(kind):
    dataset = Dataset(LEROBOT / kind)
    assert [row.length for row in dataset.episodes] == [6, 7]
    assert dataset.tasks == ["go left", "go right"]
    assert np.allclose(dataset.column("action")[6:9], [[0, -1], [0.1, -1], [0.2, -1]])
    seen = dataset.pictures("observation.images.front", 1, 2, 1)[0].astype(int)
    assert np.abs(seen[16, 4] - [60, 40, 30]).max() < 8
    assert np.abs(seen[16, 40]).max() < 8
    assert doctor.examine(LEROBOT / kind) == []


def test_the_layout_is_lerobots(made):
    """The same files, columns and types as LeRobot's own writer gives."""
    theirs = LEROBOT / "video"
    data, meta = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
    ours, other = pq.read_schema(made / data), pq.read_schema(theirs / data)
    for name in other.names:
        assert name in ours.names
        if "observation" not in name:
            assert str(ours.field(name).type).replace("[2]", "") == str(other.field(name).type).replace("[2]", "")
    key = "observation.images.front"
    wanted = {n for n in pq.read_schema(theirs / meta).names if not n.startswith("stats/") or f"/{key}/" in n}
    assert wanted <= set(pq.read_schema(made / meta).names)
    info, known = json.loads((made / layout.INFO).read_text()), json.loads((theirs / layout.INFO).read_text())
    assert set(known) <= set(info)
    for name in ("codebase_version", "data_path", "video_path", "chunks_size"):
        assert info[name] == known[name]
    assert pq.read_table(made / layout.TASKS).column_names == pq.read_table(theirs / layout.TASKS).column_names


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"action": np.zeros(3)}, r"'action' has shape \(2,\), the frame's is \(3,\)"),
        ({"action": np.array([np.nan, 0])}, "'action' is not finite"),
        ({"observation.images.front": np.zeros((32, 48, 3))}, "takes uint8"),
        ({"observation.images.front": np.zeros((48, 32, 3), np.uint8)}, "has shape"),
        ({"speed": 1.0}, "unknown feature 'speed'"),
    ],
)
def test_a_wrong_frame_is_refused_and_leaves_no_trace(made, change, match):
    with DatasetWriter(made) as writer:
        writer.add(frame(9, 0), "task 0")
        with pytest.raises(ConfigError, match=match):
            writer.add({**frame(9, 1), **change}, "task 0")
        writer.add(frame(9, 1), "task 0")
        writer.save_episode()
    assert Dataset(made).column("note").tolist()[-2:] == ["9/0", "9/1"]
    assert doctor.examine(made) == []


def test_a_missing_feature_and_other_features_are_named(made, tmp_path):
    with DatasetWriter(made) as writer, pytest.raises(ConfigError, match="lacks feature 'action'"):
        writer.add({k: v for k, v in frame(0, 0).items() if k != "action"}, "x")
    with pytest.raises(ConfigError, match="feature 'action' is"):
        DatasetWriter(made, features={**FEATURES, "action": Feature("float32", (3,))}, fps=20)
    with pytest.raises(ConfigError, match="fps=20, not 30"):
        DatasetWriter(made, features=FEATURES, fps=30)
    with pytest.raises(ConfigError, match="needs features and fps"):
        DatasetWriter(tmp_path / "nothing")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="is not empty"):
        DatasetWriter(tmp_path / "full", features=FEATURES, fps=20)
    with pytest.raises(UnknownNameError, match=r"unknown feature .actions."):
        Dataset(made).column("actions")


def _write_for_ever(folder: Path, done) -> None:
    with DatasetWriter(folder) as writer:
        for e in range(writer.n_episodes, 1000):
            fill(writer, [e], length=lambda e: 6)
            done.value = e + 1
            if e % 3 == 0:
                writer.pack()


def test_killed_at_any_moment_it_loses_at_most_the_open_episode(made):
    rng = np.random.default_rng(0)
    context = multiprocessing.get_context("fork")
    least = 3
    for _ in range(6):
        done = context.Value("i", least)
        child = context.Process(target=_write_for_ever, args=(made, done))
        child.start()
        end = time.monotonic() + 60
        wanted = least + int(rng.integers(1, 6))
        while done.value < wanted and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0, 0.05)))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        finished = done.value
        DatasetWriter(made).close()
        dataset = Dataset(made)
        assert finished + 1 >= len(dataset.episodes) >= finished > least
        assert doctor.examine(made) == []
        lengths = [row.length for row in dataset.episodes]
        assert lengths[3:] == [6] * (len(lengths) - 3)
        least = len(lengths)


def test_a_crash_before_the_commit_leaves_the_old_dataset(made, monkeypatch):
    """Every file that packing writes: stopped right before it, the dataset is whole, and the episode is not lost."""
    from embodied.data import packing

    real_table, real_json = packing.write_table, packing.write_json
    for stop in range(12):
        calls = [0]

        def counted(real, calls=calls, stop=stop):
            def call(*arguments):
                calls[0] += 1
                if calls[0] == stop + 1:
                    raise KeyboardInterrupt
                return real(*arguments)

            return call

        before = len(Dataset(made).episodes)
        writer = DatasetWriter(made)
        fill(writer, [before])
        monkeypatch.setattr(packing, "write_table", counted(real_table))
        monkeypatch.setattr(packing, "write_json", counted(real_json))
        try:
            writer.pack()
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        monkeypatch.undo()
        if interrupted:
            assert len(Dataset(made).episodes) == before
        DatasetWriter(made).close()
        assert len(Dataset(made).episodes) == before + 1
        assert doctor.examine(made) == []
        if not interrupted:
            assert stop >= 5, "nothing was interrupted: the test shows nothing"
            return
    pytest.fail("packing never came to an end")


def _damage(folder: Path, what: str) -> None:
    data, films = folder / "data/chunk-000/file-000.parquet", sorted(folder.rglob("*.mp4"))
    if what == "film cut":
        films[0].write_bytes(films[0].read_bytes()[:400])
    elif what == "film missing":
        films[0].unlink()
    elif what == "table cut":
        data.write_bytes(data.read_bytes()[:-100])
    elif what == "no info":
        (folder / layout.INFO).unlink()
    elif what == "statistics":
        stats = json.loads((folder / layout.STATS).read_text())
        stats["action"]["mean"][0] += 0.5
        (folder / layout.STATS).write_text(json.dumps(stats))
    elif what == "episodes":
        next((folder / "meta/episodes").rglob("*.parquet")).unlink()
    else:
        info = json.loads((folder / layout.INFO).read_text())
        (folder / layout.INFO).write_text(json.dumps({**info, "codebase_version": "v2.1"}))


@pytest.mark.parametrize(
    ("what", "match"),
    [
        ("film cut", "film"),
        ("film missing", "film"),
        ("table cut", "cannot be read"),
        ("no info", "info.json"),
        ("statistics", "'mean' of 'action'"),
        ("episodes", "does not hold the 3 episodes"),
        ("version", "v2.1"),
    ],
)
def test_the_doctor_finds_every_damage(made, what, match):
    _damage(made, what)
    found = doctor.examine(made)
    assert any(f.level == "error" and match in f.what for f in found), found


def test_the_doctor_warns_of_blank_pictures_and_waiting_episodes(tmp_path):
    folder = tmp_path / "d"
    writer = DatasetWriter(folder, features=FEATURES, fps=20)
    writer.add({**frame(0, 0), "observation.images.front": np.zeros((32, 48, 3), np.uint8)}, "x")
    writer.save_episode()
    assert any("repair" in f.what for f in doctor.examine(folder))
    assert doctor.repair(folder) == 1
    assert any("blank" in f.what for f in doctor.examine(folder))
