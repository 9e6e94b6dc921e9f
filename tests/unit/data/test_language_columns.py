"""Language columns: what was said at each frame comes back, and the doctor sees what LeRobot would not read."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.core.errors import ConfigError
from embodied.data import doctor, language, layout
from embodied.data.dataset import Dataset
from embodied.data.export import export
from embodied.data.layout import Feature
from embodied.data.writer import DatasetWriter

FEATURES = {
    "observation.state": Feature("float32", (2,)),
    "action": Feature("float32", (2,)),
    "observation.images.front": Feature("video", (32, 48, 3)),
}
SAID = (("near", "near", "far", "near"), ("far",) * 5, ("here", "there", "here"))


@pytest.fixture
def spoken(tmp_path):
    rng = np.random.default_rng(0)
    with DatasetWriter(tmp_path / "d", features=FEATURES, fps=20, robot_type="toy") as writer:
        for e, sentences in enumerate(SAID):
            for sentence in sentences:
                frame = {key: rng.uniform(-1, 1, 2) for key in ("observation.state", "action")}
                frame["observation.images.front"] = rng.integers(0, 255, (32, 48, 3), np.uint8)
                writer.add(frame, "do it", sentence)
            writer.save_episode({"q": np.zeros(len(sentences) + 1)})
            if e == 1:
                writer.pack()
    return Dataset(tmp_path / "d")


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(1, 500))
def test_rows_say_at_each_frame_what_was_said(said, fps):
    times = (np.arange(len(said)) / fps).astype(np.float32)
    rows = language.rows_of(said, times)
    assert language.said_at(rows, times) == said
    assert len(rows) == 1 + sum(a != b for a, b in itertools.pairwise(said))
    assert not list(language.faults(rows, times))


def test_nothing_is_said_before_the_first_row():
    rows = [{"role": "assistant", "content": "go", "style": "subtask", "timestamp": 0.1}]
    rows.append({"role": "assistant", "content": "first this", "style": "plan", "timestamp": 0.0})
    assert language.said_at(rows, np.array([0.0, 0.1, 0.2])) == ["", "go", "go"]


def test_a_copy_says_the_same(spoken, tmp_path):
    copy = Dataset(export(spoken, tmp_path / "copy"))
    assert doctor.examine(copy.folder) == []
    for dataset in (spoken, copy):
        said = [dataset.subtasks[i] for i in dataset.column(layout.SUBTASK_INDEX)]
        assert said == [sentence for sentences in SAID for sentence in sentences]
    for key in ("observation.state", "action", "timestamp", "task_index"):
        assert np.array_equal(copy.column(key), spoken.column(key))
    assert np.array_equal(copy.pictures("observation.images.front", 2), spoken.pictures("observation.images.front", 2))
    assert set(copy.world(1)) == {"q"}
    assert layout.SUBTASK_INDEX not in json.loads((copy.folder / layout.INFO).read_text())["features"]
    assert not (copy.folder / layout.SUBTASKS).exists()


def test_the_columns_are_lerobots(spoken, tmp_path):
    """Field names, order and types of LeRobot's `language.py`; tool calls are text until one is made."""
    copy = export(spoken, tmp_path / "copy")
    for path in copy.glob("data/*/*.parquet"):
        schema = pq.read_schema(path)
        fields = list(schema.field(language.PERSISTENT).type.value_type)
        assert [f.name for f in fields] == ["role", "content", "style", "timestamp", "camera", "tool_calls"]
        assert [f.type for f in fields[:5]] == [pa.string()] * 3 + [pa.float32(), pa.string()]
        events = list(schema.field(language.EVENTS).type.value_type)
        assert [f.name for f in events] == ["role", "content", "style", "camera", "tool_calls"]
    known = json.loads((copy / layout.INFO).read_text())["features"]
    assert known[language.PERSISTENT] == {"dtype": "language", "shape": [1], "names": None}


def test_a_copy_is_exported_once_and_needs_words(spoken, tmp_path):
    export(spoken, tmp_path / "copy")
    with pytest.raises(ConfigError, match="exists"):
        export(spoken, tmp_path / "copy")
    (spoken.folder / layout.SUBTASKS).unlink()
    with pytest.raises(ConfigError, match="says nothing"):
        export(Dataset(spoken.folder), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_copy_that_breaks_off_leaves_nothing(spoken, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("embodied.data.packing.write_table", full)
    with pytest.raises(OSError, match="no space"):
        export(spoken, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"style": "vqa"}, "does not last"),
        ({"content": None}, "says nothing"),
        ({"camera": "observation.images.front"}, "names camera"),
        ({"timestamp": 9.0}, "no frame has that time"),
    ],
)
def test_the_doctor_sees_what_lerobot_would_not_read(spoken, tmp_path, change, message):
    copy = export(spoken, tmp_path / "copy")
    path = next(iter(sorted(copy.glob("data/*/*.parquet"))))
    table = pq.read_table(path)
    rows = [[{**row, **change} for row in rows] for rows in table[language.PERSISTENT].to_pylist()]
    at = table.column_names.index(language.PERSISTENT)
    pq.write_table(table.set_column(at, language.PERSISTENT, pa.array(rows, language.PERSISTENT_TYPE)), path)
    assert any(message in finding.what for finding in doctor.examine(copy, films=False))


def test_the_doctor_sees_frames_that_differ(spoken, tmp_path):
    copy = export(spoken, tmp_path / "copy")
    path = next(iter(sorted(copy.glob("data/*/*.parquet"))))
    table = pq.read_table(path)
    rows = table[language.PERSISTENT].to_pylist()
    rows[1] = rows[1][:1]
    at = table.column_names.index(language.PERSISTENT)
    pq.write_table(table.set_column(at, language.PERSISTENT, pa.array(rows, language.PERSISTENT_TYPE)), path)
    (found,) = doctor.examine(copy, films=False)
    assert found.what == "differs between frames"
    assert found.where.startswith("episode 0")
