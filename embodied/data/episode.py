"""One recorded episode: the physics states and actions of a robot, from which every quantity can be computed again.

On disk it is a folder with `episode.npz` (plain arrays) and `episode.json`; nothing in it is code.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.errors import CheckpointError, ConfigError
from embodied.core.files import write_bytes, write_json

FORMAT = 1


@dataclass(frozen=True)
class Episode:
    """What happened to one robot.

    Attributes:
        task: the task's name.
        task_config: the task's configuration, from which it can be built again.
        instruction: what the robot was asked to do.
        control_dt_s: time between two actions [s].
        states: full physics states `(T + 1, n_state)`; the first column is the time [s].
        controls: the controls that acted before each state `(T + 1, n_control)`.
        actions: the policy's actions in [-1, 1], `(T, A)`.
        parameters: the episode's parameters by name.
        edits: changes of its model, as objects with `field`, `index` and `values`.
        t0_s: simulated time at which the episode began [s].
        source: who acted, in plain values (a planner and its reward program, a policy, a person).
    """

    task: str
    task_config: Mapping[str, Any]
    instruction: str
    control_dt_s: float
    states: np.ndarray
    controls: np.ndarray
    actions: np.ndarray
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    edits: Sequence[Any] = ()
    t0_s: float = 0.0
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.actions)
        if not len(self.states) == len(self.controls) == n + 1 or not np.isfinite(self.states).all():
            raise ConfigError(
                f"an episode of {n} actions needs {n + 1} finite states and controls, got {len(self.states)} and"
                f" {len(self.controls)}"
            )

    def save(self, folder: Path) -> None:
        """Writes the episode; `episode.json` appears last."""
        arrays = {"states": self.states, "controls": self.controls, "actions": self.actions}
        arrays |= {f"parameter|{name}": np.asarray(value) for name, value in self.parameters.items()}
        arrays |= {f"edit|{i}": np.asarray(edit.values[0]) for i, edit in enumerate(self.edits)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_bytes(Path(folder) / "episode.npz", buffer.getvalue())
        rest = {
            "format": FORMAT,
            "task": self.task,
            "task_config": dict(self.task_config),
            "instruction": self.instruction,
            "control_dt_s": self.control_dt_s,
            "edits": [{"field": edit.field, "index": edit.index} for edit in self.edits],
            "t0_s": self.t0_s,
            "source": dict(self.source),
        }
        write_json(Path(folder) / "episode.json", rest)


@dataclass(frozen=True)
class Edit:
    """A recorded change `model.<field>[index] = values[0]`."""

    field: str
    index: Any
    values: np.ndarray


def load_episode(folder: Path) -> Episode:
    """Reads what `Episode.save` wrote.

    Raises:
        CheckpointError: the folder holds no whole episode of a known format.
    """
    folder = Path(folder)
    try:
        rest = json.loads((folder / "episode.json").read_text(encoding="utf-8"))
        with np.load(folder / "episode.npz", allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if rest["format"] != FORMAT:
            raise ConfigError(f"format {rest['format']} is not {FORMAT}")
        edits = [Edit(e["field"], e["index"], arrays[f"edit|{i}"][None]) for i, e in enumerate(rest.pop("edits"))]
        parameters = {k.partition("|")[2]: v for k, v in arrays.items() if k.startswith("parameter|")}
        known = {k: v for k, v in rest.items() if k != "format"}
        return Episode(
            states=arrays["states"],
            controls=arrays["controls"],
            actions=arrays["actions"],
            parameters=parameters,
            edits=tuple(edits),
            **known,
        )
    except Exception as error:  # missing files, zip, numpy, json and ours: all mean the same to a caller
        raise CheckpointError(f"{folder} holds no whole episode: {error}") from None
