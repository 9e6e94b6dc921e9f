"""Files are never half-written, also under kill -9."""

from __future__ import annotations

import json
import math
import os
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.core.files import (
    append_jsonl,
    read_json,
    read_jsonl,
    sha256,
    sweep_temporaries,
    write_bytes,
    write_json,
)

WRITER = """
import sys
from pathlib import Path
from embodied.core.files import write_bytes
path, size = Path(sys.argv[1]), 400_000
print("ready", flush=True)
i = 0
while True:
    write_bytes(path, bytes([65 + i % 26]) * size)
    i += 1
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "weights.bin"
    rng = np.random.default_rng(0)
    for _ in range(25):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        data = path.read_bytes()
        assert len(data) == 400_000
        assert len(set(data)) == 1, "a mixture of two writes"
    left = [p for p in tmp_path.iterdir() if p != path]
    assert all(p.name.startswith(".weights.bin.") and p.name.endswith(".tmp") for p in left)
    assert sweep_temporaries(tmp_path) == len(left)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")

    def refuse(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no space"):
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
).filter(lambda v: "\ud800" not in repr(v))


@given(st.dictionaries(st.text(), values, max_size=4))
def test_json_round_trip(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "deep" / "x.json"
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    write_json(path, value)
    assert read_json(path) == value


def test_nan_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"a": math.nan})
    assert list(tmp_path.iterdir()) == []


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "events.jsonl"
    assert list(read_jsonl(path)) == []
    for i in range(3):
        append_jsonl(path, {"i": i, "text": "zwei\nZeilen ü"})
    with open(path, "a") as file:
        file.write('{"i": 3, "te')
    assert [row["i"] for row in read_jsonl(path)] == [0, 1, 2]


@given(st.integers(1, 60))
def test_a_torn_line_costs_no_line_after_it(tmp_path_factory, kept):
    """Wherever the writer was killed: the resumed one's rows are all there, and so are those before."""
    path = tmp_path_factory.mktemp("torn") / "events.jsonl"
    append_jsonl(path, {"i": 0})
    whole = path.stat().st_size
    append_jsonl(path, {"i": 1, "text": "x" * 60})
    os.truncate(path, whole + kept)
    append_jsonl(path, {"i": 2})
    append_jsonl(path, {"i": 3})
    assert [row["i"] for row in read_jsonl(path)] == [0, 2, 3]


def test_the_data_is_on_the_disk_before_the_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    calls: list[tuple[str, int]] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        found = os.fstat(descriptor)
        calls.append(("folder", 0) if stat.S_ISDIR(found.st_mode) else ("file", found.st_size))
        fsync(descriptor)

    def renamed(*names):
        calls.append(("name", 0))
        replace(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_bytes(tmp_path / "x", b"abc")
    assert calls == [("file", 3), ("name", 0), ("folder", 0)]


def test_sha256_is_of_the_bytes(tmp_path):
    write_bytes(tmp_path / "x", b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
