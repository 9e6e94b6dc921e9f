"""Exact snapshots of a fit: weights, their average, optimiser, schedule, batches and generators. No pickle."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from embodied.core.errors import CheckpointError
from embodied.core.files import read_json, sha256, sync_folder, write_bytes, write_json
from embodied.policies.checkpoint import load_weights, weights_of

if TYPE_CHECKING:
    from embodied.policies.fitting import Fit

FORMAT = "embodied.fit/1"


def save_fit(folder: Path, fit: Fit, *, keep: int = 2) -> Path:
    """Writes `folder/step_<n>` and removes all but the newest `keep`."""
    name = f"step_{fit.step:09d}"
    temporary, final = folder / f".{name}.tmp", folder / name
    for left in folder.glob(".step_*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    temporary.mkdir(parents=True)
    tensors = {f"model|{k}": v for k, v in weights_of(fit.network).items()}
    tensors |= {f"ema|{i}": v for i, v in enumerate(fit.ema.shadow_params)}
    saved = fit.optimizer.state_dict()
    scalars: dict[str, Any] = {}
    for index, slots in saved["state"].items():
        for slot, value in slots.items():
            if torch.is_tensor(value):
                tensors[f"optimizer|{index}|{slot}"] = value
            else:
                scalars[f"{index}|{slot}"] = value
    tensors |= {"rng|torch": torch.get_rng_state(), "rng|shift": fit.generator.get_state()}
    write_bytes(
        temporary / "tensors.safetensors", save_tensors({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    )
    state = {
        "format": FORMAT,
        "step": fit.step,
        "sha256": sha256(temporary / "tensors.safetensors"),
        "batches": fit.batches.state(),
        "ema": {k: v for k, v in fit.ema.state_dict().items() if k != "shadow_params"},
        "optimizer": {"param_groups": saved["param_groups"], "scalars": scalars},
        "schedule": {k: v for k, v in fit.schedule.state_dict().items() if k != "lr_lambdas"},
    }
    write_json(temporary / "state.json", state)
    shutil.rmtree(final, ignore_errors=True)
    os.rename(temporary, final)
    sync_folder(folder)
    for old in sorted(folder.glob("step_*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def newest_fit(folder: Path) -> Path | None:
    """The newest intact snapshot, or None."""
    for path in sorted(Path(folder).glob("step_*"), reverse=True):
        try:
            state = read_json(path / "state.json")
            if state["format"] == FORMAT and sha256(path / "tensors.safetensors") == state["sha256"]:
                return path
        except (OSError, ValueError, KeyError):
            continue
    return None


def load_fit(path: Path, fit: Fit) -> None:
    """Puts a fit built from the same configuration where the snapshot was taken.

    Raises:
        CheckpointError: it was built otherwise.
    """
    state = read_json(path / "state.json")
    tensors = load_tensors((path / "tensors.safetensors").read_bytes())

    def part(name: str) -> dict[str, torch.Tensor]:
        return {k.partition("|")[2]: v for k, v in tensors.items() if k.startswith(f"{name}|")}

    try:
        load_weights(fit.network, part("model"))
        shadow = part("ema")
        fit.ema.load_state_dict({**state["ema"], "shadow_params": [shadow[str(i)] for i in range(len(shadow))]})
        slots: dict[int, dict[str, Any]] = {}
        for key, value in [*part("optimizer").items(), *state["optimizer"]["scalars"].items()]:
            index, slot = key.split("|")
            slots.setdefault(int(index), {})[slot] = value
        fit.optimizer.load_state_dict({"state": slots, "param_groups": state["optimizer"]["param_groups"]})
        fit.schedule.load_state_dict({**state["schedule"], "lr_lambdas": [None] * len(fit.schedule.lr_lambdas)})
    except (KeyError, RuntimeError, ValueError, CheckpointError) as error:
        raise CheckpointError(f"snapshot {path} does not fit this configuration: {error}") from None
    fit.batches.set_state(state["batches"])
    torch.set_rng_state(tensors["rng|torch"])
    fit.generator.set_state(tensors["rng|shift"])
    fit.step = int(state["step"])
