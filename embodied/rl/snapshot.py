"""Exact snapshots of a training run: weights, optimisers, generators, environments, buffers. No pickle.

A snapshot is a folder: `weights.safetensors` (networks and optimiser tensors), `arrays.npz` (environment state,
statistics, replay buffer) and `state.json` (counters, generator states, optimiser settings), with
`manifest.json` (sha256 of each) written last; the folder is made under a temporary name and renamed. A folder
without a manifest, or with a wrong hash, is not a snapshot: the newest complete one is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer

from embodied.core.errors import CheckpointError, ConfigError
from embodied.core.files import read_json, sha256, sync_folder, write_bytes, write_json
from embodied.rl.vec_env import RewardVecEnv

FORMAT = "embodied.snapshot/1"
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining", "_total_timesteps")
_FILES = {"weights.safetensors", "arrays.npz", "state.json"}
_BUFFER_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def save_snapshot(folder: Path, algorithm: BaseAlgorithm, env: RewardVecEnv, *, keep: int = 2) -> Path:
    """Writes `folder/step_<n>` and removes all but the newest `keep` snapshots.

    The moment must be a boundary: before a rollout is collected, after the last update.
    """
    name = f"step_{algorithm.num_timesteps:010d}"
    temporary, final = folder / f".{name}.tmp", folder / name
    for left in folder.glob(".step_*.tmp"):  # of a killed writer
        shutil.rmtree(left, ignore_errors=True)
    temporary.mkdir(parents=True)
    tensors, optimizers = _tensors(algorithm)
    environment = env.get_state()
    arrays = dict(environment["arrays"])
    arrays["last_observation"] = np.asarray(algorithm._last_obs)
    if algorithm._last_episode_starts is not None:
        arrays["last_episode_starts"] = np.asarray(algorithm._last_episode_starts)
    state = {
        "counters": {k: getattr(algorithm, k) for k in _COUNTERS},
        "optimizers": optimizers,
        "environment": {k: environment[k] for k in ("rng", "step_count", "vec_steps")},
        "python": _as_lists(random.getstate()),
        "numpy": _plain(np.random.get_state(legacy=False)),
        "action_space": algorithm.action_space.np_random.bit_generator.state,
    }
    buffer = getattr(algorithm, "replay_buffer", None)
    if buffer is not None:
        arrays |= _buffer_arrays(buffer)
        state["buffer"] = {"pos": int(buffer.pos), "full": bool(buffer.full)}
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    write_bytes(temporary / "weights.safetensors", save_tensors(tensors))
    write_bytes(temporary / "arrays.npz", packed.getvalue())
    write_json(temporary / "state.json", state)
    files = {p.name: sha256(p) for p in sorted(temporary.iterdir())}
    write_json(temporary / "manifest.json", {"format": FORMAT, "files": files})
    shutil.rmtree(final, ignore_errors=True)
    os.rename(temporary, final)
    sync_folder(folder)
    for old in _complete(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def newest_snapshot(folder: Path) -> Path | None:
    """The newest complete snapshot whose hashes are right, or None; damaged ones are passed over."""
    for path in reversed(_complete(folder)):
        if _intact(path):
            return path
    return None


def load_snapshot(path: Path, algorithm: BaseAlgorithm, env: RewardVecEnv) -> None:
    """Restores a snapshot into an algorithm and environments built from the same configuration.

    Raises:
        CheckpointError: damaged, or made from another configuration.
    """
    if not _intact(path):
        raise CheckpointError(f"snapshot {path} is incomplete or altered (sha256 differs)")
    state = read_json(path / "state.json")
    with np.load(path / "arrays.npz", allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    tensors = load_tensors((path / "weights.safetensors").read_bytes())
    try:
        _restore_tensors(algorithm, tensors, state["optimizers"])
        env.set_state({**state["environment"], "arrays": arrays})
    except (KeyError, RuntimeError, ValueError, ConfigError) as error:
        raise CheckpointError(f"snapshot {path} does not fit this configuration: {error}") from None
    for name, value in state["counters"].items():
        setattr(algorithm, name, value)
    algorithm._last_obs = arrays["last_observation"]
    algorithm._last_original_obs = None
    algorithm._last_episode_starts = arrays.get("last_episode_starts")
    algorithm.ep_info_buffer, algorithm.ep_success_buffer = deque(maxlen=100), deque(maxlen=100)
    if "buffer" in state:
        _restore_buffer(algorithm.replay_buffer, arrays, state["buffer"])  # type: ignore[attr-defined]
    random.setstate(_as_tuples(state["python"]))
    numpy_state = state["numpy"]
    numpy_state["state"]["key"] = np.array(numpy_state["state"]["key"], dtype=np.uint32)
    np.random.set_state(numpy_state)
    algorithm.action_space.np_random.bit_generator.state = state["action_space"]
    torch.set_rng_state(tensors["torch_rng"])


def weights_sha256(algorithm: BaseAlgorithm) -> str:
    """Hash of all network weights, in a fixed order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(algorithm.policy.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _complete(folder: Path) -> list[Path]:
    return sorted(p for p in Path(folder).glob("step_*") if (p / "manifest.json").is_file())


def _intact(path: Path) -> bool:
    try:
        manifest = read_json(path / "manifest.json")
        files = manifest["files"]
        return (
            manifest.get("format") == FORMAT
            and set(files) == _FILES
            and all(sha256(path / name) == digest for name, digest in files.items())
        )
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return False


def _modules(algorithm: BaseAlgorithm) -> tuple[list[str], list[str]]:
    """SB3's own list of what has a state dict, and of further tensors (SAC's entropy coefficient)."""
    state_dicts, variables = algorithm._get_torch_save_params()
    return state_dicts, variables


def _attribute(algorithm: BaseAlgorithm, dotted: str) -> Any:
    found: Any = algorithm
    for part in dotted.split("."):
        found = getattr(found, part)
    return found


def _tensors(algorithm: BaseAlgorithm) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors: dict[str, torch.Tensor] = {"torch_rng": torch.get_rng_state()}
    optimizers: dict[str, Any] = {}
    names, variables = _modules(algorithm)
    for name in [*names, *(["policy.optimizer"] if hasattr(algorithm.policy, "optimizer") else [])]:
        part = _attribute(algorithm, name)
        if isinstance(part, torch.optim.Optimizer):
            saved = part.state_dict()
            optimizers[name] = {"param_groups": _plain(saved["param_groups"]), "scalars": {}}
            for index, slots in saved["state"].items():
                for slot, value in slots.items():
                    if torch.is_tensor(value):
                        tensors[f"{name}/{index}/{slot}"] = value.detach().clone().contiguous()
                    else:
                        optimizers[name]["scalars"][f"{index}/{slot}"] = value
        else:
            tensors |= {f"{name}|{k}": v.detach().clone().contiguous() for k, v in part.state_dict().items()}
    for name in variables:
        tensors[f"variable|{name}"] = _attribute(algorithm, name).detach().clone().contiguous()
    return tensors, optimizers


def _restore_tensors(algorithm: BaseAlgorithm, tensors: dict[str, torch.Tensor], optimizers: dict[str, Any]) -> None:
    names, variables = _modules(algorithm)
    for name in names:
        part = _attribute(algorithm, name)
        if not isinstance(part, torch.optim.Optimizer):
            own = {k.partition("|")[2]: v for k, v in tensors.items() if k.startswith(f"{name}|")}
            part.load_state_dict(own, strict=True)
    for name, saved in optimizers.items():
        slots: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            if key.startswith(f"{name}/"):
                index, slot = key[len(name) + 1 :].split("/")
                slots.setdefault(int(index), {})[slot] = value
        for key, value in saved["scalars"].items():
            index, slot = key.split("/")
            slots.setdefault(int(index), {})[slot] = value
        _attribute(algorithm, name).load_state_dict({"state": slots, "param_groups": saved["param_groups"]})
    for name in variables:
        _attribute(algorithm, name).data.copy_(tensors[f"variable|{name}"])


def _buffer_arrays(buffer: ReplayBuffer) -> dict[str, np.ndarray]:
    """The filled part of the replay buffer."""
    filled = buffer.buffer_size if buffer.full else buffer.pos
    return {
        f"buffer/{name}": getattr(buffer, name)[:filled]
        for name in _BUFFER_ARRAYS
        if getattr(buffer, name, None) is not None
    }


def _restore_buffer(buffer: ReplayBuffer, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
    for name in _BUFFER_ARRAYS:
        key = f"buffer/{name}"
        if key in arrays:
            getattr(buffer, name)[: len(arrays[key])] = arrays[key]
    buffer.pos, buffer.full = state["pos"], state["full"]


def _plain(value: Any) -> Any:
    """JSON-ready copy of nested dicts, lists, tuples, arrays and numpy scalars."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value


def _as_lists(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(v) for v in value) if isinstance(value, list) else value
