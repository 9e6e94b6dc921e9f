"""A fitted policy as data: weights in safetensors; architecture, statistics and vocabulary in a JSON manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from embodied.core.build import build
from embodied.core.errors import CheckpointError, EmbodiedError
from embodied.core.files import write_bytes, write_json
from embodied.core.saved import read_saved
from embodied.policies.diffusion_vla import DiffusionVLA
from embodied.policies.normalization import Normalization

FORMAT = "embodied.vla_policy/1"


@dataclass(frozen=True)
class Architecture:
    """Everything that a policy is built from but its weights.

    Attributes:
        policy: configuration of the network, with `_target_`.
        backbone: configuration of the backbone, with `_target_`.
        head: configuration of the action head, with `_target_`.
        cameras: picture features, in order.
        camera_shape: (H, W) [pixels] of the pictures as recorded; the backbone's size divides it.
        state_size: S.
        action_size: A.
        chunk_size: T.
        n_action_steps: actions of a chunk that are executed before the next is asked for.
        fps: control rate of the data [Hz].
        vocabulary: of the backbone.
    """

    policy: Mapping[str, Any]
    backbone: Mapping[str, Any]
    head: Mapping[str, Any]
    cameras: Sequence[str]
    camera_shape: Sequence[int]
    state_size: int
    action_size: int
    chunk_size: int
    n_action_steps: int
    fps: int
    vocabulary: str

    def build(self, trusted_packages: Sequence[str] = ()) -> DiffusionVLA:
        """The network with fresh weights."""
        feature_size = int(self.policy["feature_size"])
        trust = {"trusted_packages": trusted_packages}
        sizes = {"feature_size": feature_size, "chunk_size": self.chunk_size, "action_size": self.action_size}
        head = build(self.head, **trust, **sizes)
        backbone = build(self.backbone, **trust, vocabulary=self.vocabulary, n_cameras=len(self.cameras))
        return build(self.policy, **trust, backbone=backbone, head=head, state_size=self.state_size)


def save_policy(
    folder: Path, weights: Mapping[str, torch.Tensor], architecture: Architecture, normalization: Normalization
) -> str:
    """Writes `model.safetensors`, then `manifest.json`; returns the sha256 of the weights."""
    folder = Path(folder)
    data = save({k: v.detach().cpu().contiguous() for k, v in weights.items()})
    write_bytes(folder / "model.safetensors", data)
    digest = hashlib.sha256(data).hexdigest()
    rest = {"architecture": _plain(asdict(architecture)), "normalization": normalization.to_json()}
    versions = {"torch": torch.__version__}
    write_json(
        folder / "manifest.json",
        {"format": FORMAT, "sha256": digest, "manifest_sha256": _hash(rest), "versions": versions, **rest},
    )
    return digest


def load_parts(folder: Path, trusted_packages: Sequence[str] = ()) -> tuple[DiffusionVLA, Architecture, Normalization]:
    """The network with its weights, how it is built, and its statistics.

    Raises:
        CheckpointError: missing, altered, truncated, of another format, or parts that do not fit; names which.
    """
    folder = Path(folder)
    manifest, data = read_saved(folder, "model.safetensors", FORMAT)
    rest = {key: manifest.get(key) for key in ("architecture", "normalization")}
    if _hash(rest) != manifest.get("manifest_sha256"):
        raise CheckpointError(f"{folder / 'manifest.json'}: architecture or statistics were altered (sha256 differs)")
    try:
        architecture = Architecture(**rest["architecture"])
        sizes = architecture.action_size, architecture.state_size
        normalization = Normalization.from_json(rest["normalization"], *sizes)
        model = architecture.build(trusted_packages)
        load_weights(model, load(data))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError, EmbodiedError) as error:
        raise CheckpointError(f"{folder} does not hold a policy: {error}") from None
    return model, architecture, normalization


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """A model's tensors by name; of several names for one tensor (tied weights) the first."""
    seen: set[tuple[int, torch.Size]] = set()
    found = {}
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tensor.shape)
        if tensor.numel() == 0 or key not in seen:
            seen.add(key)
            found[name] = tensor
    return found


def load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Inverse of `weights_of`.

    Raises:
        CheckpointError: a tensor is missing or unknown.
        RuntimeError: a tensor has another shape.
    """
    expected = weights_of(model)
    missing, unknown = sorted(set(expected) - set(weights)), sorted(set(weights) - set(expected))
    if missing or unknown:
        raise CheckpointError(f"weights do not fit the architecture (missing {missing[:3]}, unknown {unknown[:3]})")
    model.load_state_dict(dict(weights), strict=False)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
