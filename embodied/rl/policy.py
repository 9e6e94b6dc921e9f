"""A trained actor as data: dense layers in safetensors, everything else in a JSON manifest.

It runs in numpy alone, so that evaluation, `watch` and a robot's machine need neither torch nor SB3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from embodied.core.errors import CheckpointError
from embodied.core.files import sha256, write_bytes, write_json
from embodied.core.policy import STATE_KEY
from embodied.core.saved import read_saved

FORMAT = "embodied.mlp_policy/1"
_ACTIVATIONS = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0.0)}


@dataclass(frozen=True)
class MLPPolicy:
    """Deterministic actor of PPO or SAC.

    Attributes:
        layers: `[(weight (out, in), bias (out,)), ...]`, float32.
        activation: `tanh` or `relu` between the layers.
        squash: whether a tanh follows the last layer (SAC); otherwise actions are clipped.
        mean: observation mean `(D,)`.
        std: observation standard deviation `(D,)`.
        observation: names of the quantities that make up the observation, in order.
        task: name of the task it was trained on.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    activation: str
    squash: bool
    mean: np.ndarray
    std: np.ndarray
    observation: tuple[str, ...]
    task: str

    @property
    def features(self) -> Mapping[str, tuple[int, ...]]:
        """What `act` needs."""
        return {STATE_KEY: self.mean.shape}

    def reset(self, instruction: str) -> None:
        """The policy knows one task; the instruction does not change it."""

    def instruct(self, text: str) -> None:
        """The policy knows one task; the instruction does not change it."""

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """Action chunk `(1, A)` for `observation.state (D,)`."""
        return self.actions(np.asarray(observation[STATE_KEY])[None])

    def actions(self, observation: np.ndarray) -> np.ndarray:
        """Actions `(N, A)` in [-1, 1] for raw observations `(N, D)`."""
        x = np.clip((observation - self.mean) / self.std, -10.0, 10.0).astype(np.float32)
        for i, (weight, bias) in enumerate(self.layers):
            x = x @ weight.T + bias
            if i + 1 < len(self.layers):
                x = _ACTIVATIONS[self.activation](x)
        return np.tanh(x) if self.squash else np.clip(x, -1.0, 1.0)

    def save(self, folder: Path) -> str:
        """Writes `policy.safetensors` and `manifest.json` (last); returns the sha256 of the weights file."""
        tensors = {"mean": np.asarray(self.mean, np.float64), "std": np.asarray(self.std, np.float64)}
        for i, (weight, bias) in enumerate(self.layers):
            tensors |= {f"layer_{i}.weight": np.ascontiguousarray(weight), f"layer_{i}.bias": bias}
        folder = Path(folder)
        write_bytes(folder / "policy.safetensors", save(tensors))
        digest = sha256(folder / "policy.safetensors")
        manifest = {
            "format": FORMAT,
            "activation": self.activation,
            "squash": self.squash,
            "observation": list(self.observation),
            "task": self.task,
            "sha256": digest,
        }
        write_json(folder / "manifest.json", manifest)
        return digest

    @staticmethod
    def load(folder: Path) -> MLPPolicy:
        """Reads a saved policy and checks its hash.

        Raises:
            CheckpointError: missing, altered, truncated or of another format.
        """
        folder = Path(folder)
        manifest, data = read_saved(folder, "policy.safetensors", FORMAT)
        try:
            return _assembled(load(data), manifest)
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"{folder} does not hold a policy: {type(error).__name__}: {error}") from None


def _assembled(tensors: Mapping[str, np.ndarray], manifest: Mapping[str, Any]) -> MLPPolicy:
    """The policy of a manifest and its tensors, with everything that `actions` relies on checked."""
    if manifest["activation"] not in _ACTIVATIONS or not isinstance(manifest["squash"], bool):
        raise ValueError(f"activation {manifest['activation']!r}, squash {manifest['squash']!r}")
    count = sum(name.endswith(".weight") for name in tensors)
    layers = tuple((tensors[f"layer_{i}.weight"], tensors[f"layer_{i}.bias"]) for i in range(count))
    mean, std = tensors["mean"], tensors["std"]
    sizes = [len(mean), *(len(bias) for _, bias in layers)]
    fits = all(w.shape == (out, into) for (w, _), (into, out) in zip(layers, pairwise(sizes), strict=True))
    if not layers or not fits or std.shape != mean.shape:
        raise ValueError(f"layers of shapes {[w.shape for w, _ in layers]} for {len(mean)} observed numbers")
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise ValueError("a weight is not finite")
    observation = tuple(str(name) for name in manifest["observation"])
    return MLPPolicy(layers, manifest["activation"], manifest["squash"], mean, std, observation, manifest["task"])
