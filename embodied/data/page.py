"""A dataset as one page: facts, sentences, contact sheets, and plots of one episode."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

import numpy as np

from embodied.core.files import write_text
from embodied.core.report import page
from embodied.core.svg import Series, line_chart
from embodied.data import layout
from embodied.data.dataset import Dataset

_MOMENTS, _EPISODES = 6, 12


def contact_sheet(dataset: Dataset, key: str) -> bytes:
    """PNG: one row per episode (spread over the dataset), a few moments each."""
    from PIL import Image

    chosen = np.unique(np.linspace(0, len(dataset.episodes) - 1, min(_EPISODES, len(dataset.episodes))).astype(int))
    rows = []
    for index in chosen:
        length = dataset.episodes[index].length
        moments = np.linspace(0, length - 1, _MOMENTS).astype(int)
        rows.append(np.concatenate(list(dataset.pictures(key, int(index))[moments]), axis=1))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(buffer, "PNG")
    return buffer.getvalue()


def write_page(dataset: Dataset, path: Path, episode: int = 0) -> Path:
    """Writes the page.

    Args:
        dataset: what is shown.
        path: of the html file.
        episode: whose state and actions are plotted.
    """
    row = dataset.episodes[episode]
    seconds = np.arange(row.length) / dataset.fps
    parts = [("facts", "Facts", _facts(dataset))]
    for key in dataset.cameras:
        picture = base64.b64encode(contact_sheet(dataset, key)).decode()
        image = f'<img alt="moments of episodes" src="data:image/png;base64,{picture}">'
        parts.append((key, key, image))
    for key in (layout.ACTION, "observation.state"):
        values = dataset.column(key)[row.start : row.stop].reshape(row.length, -1)
        names = dataset.features[key].names or tuple(str(i) for i in range(values.shape[1]))
        charts = [
            line_chart([Series(name, seconds, values[:, i])], label=name, x_label="seconds", small=True)
            for i, name in enumerate(names)
        ]
        parts.append((key, f"{key}, episode {episode}", f'<div class="small-multiples">{"".join(charts)}</div>'))
    headline = "; ".join(dataset.tasks[:3])
    write_text(path, page(f"Dataset {dataset.folder.name}", "dataset", headline, parts, {}))
    return path


def _facts(dataset: Dataset) -> str:
    lengths = np.array([row.length for row in dataset.episodes])
    rows = [
        ("episodes", len(lengths)),
        ("frames", f"{len(dataset):,} at {dataset.fps} per second"),
        ("length of an episode", f"{lengths.min()} to {lengths.max()} frames, median {np.median(lengths):.0f}"),
        ("robot", dataset.info.get("robot_type") or "-"),
    ]
    tasks = dataset.column("task_index")
    rows += [(f"task: {text}", f"{(tasks == i).mean():.0%} of frames") for i, text in enumerate(dataset.tasks)]
    if dataset.subtasks:
        said = dataset.column(layout.SUBTASK_INDEX)
        rows += [(f"says: {text}", f"{(said == i).mean():.0%} of frames") for i, text in enumerate(dataset.subtasks)]
    return "<table>" + "".join(f"<tr><th>{escape(a)}</th><td>{escape(str(b))}</td></tr>" for a, b in rows) + "</table>"
