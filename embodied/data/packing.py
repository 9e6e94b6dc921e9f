"""Packs staged episodes into shards: new files first, `info.json` last, so that a kill leaves the old dataset."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embodied.core.errors import CheckpointError
from embodied.core.files import read_json, sweep_temporaries, sync_folder, write_bytes, write_json
from embodied.data import layout, statistics
from embodied.data.layout import BOOKKEEPING, Feature
from embodied.data.video import join

_MOST_NUMBERS = 50_000_000  # of a column whose quantiles are computed exactly


def write_world(path: Path, world: Mapping[str, np.ndarray]) -> None:
    """Quantities of the world, `(T + 1, ...)` each."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{k: np.asarray(v) for k, v in world.items()})
    write_bytes(path, buffer.getvalue())


def empty_info(features: Mapping[str, Feature], fps: int, robot_type: str | None) -> dict[str, Any]:
    """The `info.json` of a dataset without episodes."""
    everything = {**features, layout.SUBTASK_INDEX: Feature("int64", (1,)), **BOOKKEEPING}
    return {
        "codebase_version": layout.CODEBASE_VERSION,
        "robot_type": robot_type,
        "total_episodes": 0,
        "total_frames": 0,
        "total_tasks": 0,
        "chunks_size": layout.CHUNKS_SIZE,
        "data_files_size_in_mb": layout.DATA_FILE_MB,
        "video_files_size_in_mb": layout.VIDEO_FILE_MB,
        "fps": fps,
        "splits": {},
        "data_path": layout.DATA,
        "video_path": layout.VIDEO if any(f.is_video for f in features.values()) else None,
        "features": {key: feature.to_json(fps) for key, feature in everything.items()},
    }


def write_table(path: Path, table: pa.Table) -> None:
    """Atomic parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary, compression="snappy")
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def column(values: np.ndarray, feature: Feature) -> pa.Array:
    """An Arrow array of `(N, *shape)` values: scalars for `(1,)`, fixed or nested lists otherwise."""
    values = np.ascontiguousarray(values, dtype=feature.dtype)
    if feature.shape == (1,):
        return pa.array(values.reshape(len(values)))
    found: pa.Array = pa.array(values.ravel())
    for size in reversed(feature.shape):
        found = pa.FixedSizeListArray.from_arrays(found, size) if len(feature.shape) == 1 else _lists(found, size)
    return found


def _lists(values: pa.Array, size: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, size, dtype=np.int32)), values)


def staged_table(columns: Mapping[str, list[Any]], features: Mapping[str, Feature]) -> pa.Table:
    """One episode's frames, its sentences still as text."""
    found = {}
    for key, values in columns.items():
        text = key in ("task", "subtask") or features[key].dtype == "string"
        found[key] = pa.array([str(v) for v in values]) if text else column(np.stack(values), features[key])
    return pa.table(found)


def recover(folder: Path) -> None:
    """Removes what a killed writer left half-done: temporary files, shards that do not count, packed staging."""
    sweep_temporaries(folder)
    total = int(read_json(folder / layout.INFO)["total_episodes"])
    for path in (folder / layout.STAGING).glob(".episode-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)
    for path in (folder / layout.STAGING).glob("episode-*"):
        if int(path.name[8:]) < total:
            shutil.rmtree(path)
    kept = episode_rows(folder, total)
    used = {f"data/{r['data/chunk_index']}/{r['data/file_index']}" for r in kept}
    used |= {f"meta/episodes/{r['meta/episodes/chunk_index']}/{r['meta/episodes/file_index']}" for r in kept}
    for row in kept:
        videos = [k[7:-12] for k in row if k.startswith("videos/") and k.endswith("/chunk_index")]
        used |= {f"videos/{v}/{row[f'videos/{v}/chunk_index']}/{row[f'videos/{v}/file_index']}" for v in videos}
    for path in [*folder.glob("data/*/*"), *folder.glob("meta/episodes/*/*"), *folder.glob("videos/*/*/*")]:
        numbers = f"{int(path.parent.name[6:])}/{int(path.stem[5:])}"
        if f"{path.parent.parent.relative_to(folder).as_posix()}/{numbers}" not in used:
            path.unlink()
    for path in folder.glob("world/episode-*.npz"):
        if int(path.stem[8:]) >= total and not (folder / layout.STAGING / path.stem).exists():
            path.unlink()


def episode_rows(folder: Path, total: int) -> list[dict[str, Any]]:
    """The rows of `meta/episodes` that count, without statistics, in order."""
    rows: list[dict[str, Any]] = []
    for path in sorted((folder / "meta/episodes").glob("*/*.parquet")):
        try:
            names = [n for n in pq.read_schema(path).names if not n.startswith("stats/")]
            rows += pq.read_table(path, columns=names).to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from None
    rows.sort(key=lambda r: r["episode_index"])
    found = rows[:total]
    if [r["episode_index"] for r in found] != list(range(total)):
        raise CheckpointError(f"{folder}/meta/episodes does not hold the {total} episodes that info.json counts")
    return found


def read_sentences(path: Path, index: str) -> list[str]:
    """Sentences of `tasks.parquet` or `subtasks.parquet`, by index; the text column is the table's (pandas) index."""
    if not path.exists():
        return []
    table = pq.read_table(path)
    text = next(name for name in table.column_names if name != index)
    pairs = sorted(zip(table[index].to_pylist(), table[text].to_pylist(), strict=True))
    return [sentence for _, sentence in pairs]


def write_sentences(path: Path, index: str, sentences: Sequence[str]) -> None:
    """Writes sentences so that pandas reads the text as the table's index, as LeRobot expects."""
    table = pa.table({index: pa.array(range(len(sentences)), pa.int64()), "__index_level_0__": pa.array(sentences)})
    pandas = {
        "index_columns": ["__index_level_0__"],
        "column_indexes": [
            {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
        ],
        "columns": [
            {"name": index, "field_name": index, "pandas_type": "int64", "numpy_type": "int64", "metadata": None},
            {
                "name": None,
                "field_name": "__index_level_0__",
                "pandas_type": "unicode",
                "numpy_type": "object",
                "metadata": None,
            },
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    write_table(path, table.replace_schema_metadata({"pandas": json.dumps(pandas)}))


def pack(folder: Path, features: Mapping[str, Feature], fps: int) -> None:
    """Moves all staged episodes into new shards and makes them count."""
    staged = staged_episodes(folder)
    if not staged:
        return
    info = read_json(folder / layout.INFO)
    total, first_index = int(info["total_episodes"]), int(info["total_frames"])
    if [index for index, _, _ in staged] != list(range(total, total + len(staged))):
        raise CheckpointError(
            f"{folder}/{layout.STAGING} holds episodes {[i for i, _, _ in staged]}; expected {total} onward"
        )
    kept = episode_rows(folder, total)
    tables = [pq.read_table(path / "data.parquet") for _, path, _ in staged]
    tasks = _extended(read_sentences(folder / layout.TASKS, "task_index"), tables, "task")
    subtasks = _extended(read_sentences(folder / layout.SUBTASKS, layout.SUBTASK_INDEX), tables, "subtask")
    rows = _rows(staged, tables, first_index)
    data_file = _next(kept, "data")
    frames = pa.concat_tables(
        _indexed(table, row, tasks, subtasks, features, fps) for table, row in zip(tables, rows, strict=True)
    )
    write_table(folder / layout.at(layout.DATA, data_file), frames)
    _place(rows, "data", data_file)
    for key in [k for k, f in features.items() if f.is_video]:
        video_file = _next(kept, f"videos/{key}")
        counts = join(
            [path / f"{key}.mp4" for _, path, _ in staged],
            folder / layout.at(layout.VIDEO, video_file, video_key=key),
            fps,
        )
        _place(rows, f"videos/{key}", video_file)
        if counts != [row["length"] for row in rows]:
            raise CheckpointError(f"films of '{key}' hold {counts} frames, the tables {[r['length'] for r in rows]}")
        start = 0
        for row, count in zip(rows, counts, strict=True):
            row[f"videos/{key}/from_timestamp"] = start / fps
            row[f"videos/{key}/to_timestamp"] = (start := start + count) / fps
    episodes_file = _next(kept, "meta/episodes")
    _place(rows, "meta/episodes", episodes_file)
    write_table(folder / layout.at(layout.EPISODES, episodes_file), pa.Table.from_pylist(rows))
    write_sentences(folder / layout.TASKS, "task_index", tasks)
    write_sentences(folder / layout.SUBTASKS, layout.SUBTASK_INDEX, subtasks)
    _write_statistics(folder, total + len(rows))
    for index, path, _ in staged:
        if (path / "world.npz").exists():
            (folder / "world").mkdir(exist_ok=True)
            os.replace(path / "world.npz", folder / layout.WORLD_FILE.format(index=index))
    info |= {"total_episodes": total + len(rows), "total_frames": rows[-1]["dataset_to_index"]}
    info |= {"total_tasks": len(tasks), "splits": {"train": f"0:{total + len(rows)}"}}
    write_json(folder / layout.INFO, info)
    sync_folder(folder)
    shutil.rmtree(folder / layout.STAGING)


def _extended(known: list[str], tables: Sequence[pa.Table], name: str) -> list[str]:
    """The known sentences and the new ones, in order of appearance."""
    for table in tables:
        known = list(dict.fromkeys([*known, *table[name].to_pylist()]))
    return known


def _rows(
    staged: Sequence[tuple[int, Path, dict[str, Any]]], tables: Sequence[pa.Table], first: int
) -> list[dict[str, Any]]:
    """Rows of `meta/episodes`, without the places of the files."""
    rows = []
    for (index, _, entry), table in zip(staged, tables, strict=True):
        row = {"episode_index": index, "tasks": list(dict.fromkeys(table["task"].to_pylist())), "length": len(table)}
        row |= {"dataset_from_index": first, "dataset_to_index": (first := first + len(table))}
        for key, stats in entry["stats"].items():
            row |= {f"stats/{key}/{name}": value for name, value in stats.items()}
        rows.append(row)
    return rows


def _indexed(
    table: pa.Table,
    row: Mapping[str, Any],
    tasks: Sequence[str],
    subtasks: Sequence[str],
    features: Mapping[str, Feature],
    fps: int,
) -> pa.Table:
    """An episode's frames with the bookkeeping columns in place of the sentences."""
    length = len(table)
    steps = np.arange(length)
    found = {key: table[key].combine_chunks() for key, f in features.items() if not f.is_video}
    task_of = {sentence: i for i, sentence in enumerate(tasks)}
    subtask_of = {sentence: i for i, sentence in enumerate(subtasks)}
    found[layout.SUBTASK_INDEX] = pa.array([subtask_of[s] for s in table["subtask"].to_pylist()], pa.int64())
    found["timestamp"] = pa.array((steps / fps).astype(np.float32))
    found["frame_index"] = pa.array(steps)
    found["episode_index"] = pa.array(np.full(length, row["episode_index"]))
    found["index"] = pa.array(steps + row["dataset_from_index"])
    found["task_index"] = pa.array([task_of[s] for s in table["task"].to_pylist()], pa.int64())
    return pa.table(found)


def _next(rows: Sequence[Mapping[str, Any]], kind: str) -> int:
    """Running number of the first file of a kind that no row names."""
    used = [layout.position(r[f"{kind}/chunk_index"], r[f"{kind}/file_index"]) for r in rows]
    return max(used, default=-1) + 1


def _place(rows: Sequence[dict[str, Any]], kind: str, index: int) -> None:
    chunk, file = divmod(index, layout.CHUNKS_SIZE)
    for row in rows:
        row |= {f"{kind}/chunk_index": chunk, f"{kind}/file_index": file}


def _write_statistics(folder: Path, total: int) -> None:
    """`stats.json` of the first `total` episodes, from what `meta/episodes` says of each."""
    parts: dict[str, list[dict[str, np.ndarray]]] = {}
    for path in sorted((folder / "meta/episodes").glob("*/*.parquet")):
        table = pq.read_table(path)
        for row in table.to_pylist():
            found: dict[str, dict[str, np.ndarray]] = {}
            for name, value in row.items():
                if name.startswith("stats/") and value is not None and row["episode_index"] < total:
                    key, _, kind = name[6:].rpartition("/")
                    found.setdefault(key, {})[kind] = np.array(value)
            for key, stats in found.items():
                parts.setdefault(key, []).append(stats)
    merged = {key: statistics.merged(stats) for key, stats in parts.items()}
    for key, stats in merged.items():
        stats |= _exact_quantiles(folder, key)
    write_json(folder / layout.STATS, {k: {n: np.asarray(v).tolist() for n, v in s.items()} for k, s in merged.items()})


def _exact_quantiles(folder: Path, key: str) -> dict[str, np.ndarray]:
    """Quantiles of a column over all frames; nothing for films, and for more numbers than memory should hold."""
    paths = sorted((folder / "data").glob("*/*.parquet"))
    if key not in pq.read_schema(paths[0]).names:
        return {}
    columns = [pq.read_table(path, columns=[key]).column(0).combine_chunks() for path in paths]
    values = [flat(column).reshape(len(column), -1) for column in columns]
    if sum(v.size for v in values) > _MOST_NUMBERS:
        return {}
    return statistics.quantiles(np.concatenate(values).astype(np.float64))


def flat(values: pa.Array) -> np.ndarray:
    """All numbers of a column of scalars or nested lists."""
    while pa.types.is_fixed_size_list(values.type) or pa.types.is_list(values.type):
        values = values.flatten()
    return values.to_numpy(zero_copy_only=False)


def staged_episodes(folder: Path) -> list[tuple[int, Path, dict[str, Any]]]:
    """Finished episodes that no shard holds yet: index, folder, its `episode.json`."""
    found = sorted((folder / layout.STAGING).glob("episode-*"))
    return [(int(p.name[8:]), p, read_json(p / "episode.json")) for p in found]
