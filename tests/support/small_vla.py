"""A tiny dataset and a tiny policy: for tests of everything around learning."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embodied.data.dataset import Dataset
from embodied.data.layout import Feature
from embodied.data.writer import DatasetWriter
from embodied.policies.checkpoint import Architecture
from embodied.policies.fitting import Fit, FitSettings, architecture_for

CAMERA = "observation.images.front"
LIGHT = {
    "_target_": "embodied.policies.backbones.light.LightBackbone",
    "picture_size": [16, 16],
    "width": 32,
    "layers": 1,
    "heads": 2,
    "readout_tokens": 2,
}
SMALL_VLM = {"picture_size": [16, 16], "width": 32, "layers": 1, "heads": 2, "kv_heads": 1, "vision_width": 32}
SMALL_VLM |= {"vision_layers": 1, "patch_size": 4}
BACKBONES = {
    "light": LIGHT,
    "qwen2_vl": {"_target_": "embodied.policies.backbones.qwen2_vl.Qwen2VLBackbone", **SMALL_VLM},
    "smolvlm": {"_target_": "embodied.policies.backbones.smolvlm.SmolVLMBackbone", **SMALL_VLM},
}
L1 = {"_target_": "embodied.policies.heads.l1.L1Head", "hidden_size": 32}
DIFFUSION = {"_target_": "embodied.policies.heads.diffusion.DiffusionHead", "noise_samples": 1}
POLICY = {
    "_target_": "embodied.policies.diffusion_vla.DiffusionVLA",
    "feature_size": 32,
    "reasoning": True,
    "alpha": 1.0,
}


def write_dataset(folder: Path, episodes: int = 4, length: int = 12) -> Dataset:
    """Squares that move left or right as they are told; the action is the direction."""
    features = {
        "observation.state": Feature("float32", (3,)),
        "action": Feature("float32", (2,)),
        CAMERA: Feature("video", (32, 32, 3)),
    }
    with DatasetWriter(folder, features=features, fps=10) as writer:
        for e in range(episodes):
            way = 1 if e % 2 else -1
            for t in range(length):
                picture = np.full((32, 32, 3), 30, np.uint8)
                x = 14 + way * t
                picture[12:18, max(0, x) : max(0, x) + 6] = (200, 60, 60)
                state = np.array([x / 32, way * 0.1, t / length])
                frame = {"observation.state": state, "action": np.array([way, t / length - 0.5]), CAMERA: picture}
                said = "I wait." if t < 3 else f"I go {'right' if way > 0 else 'left'}."
                writer.add(frame, f"Go {'right' if way > 0 else 'left'}.", said)
            writer.save_episode()
    return Dataset(folder)


def architecture(dataset: Dataset, backbone: str = "light", head: dict | None = None, **policy) -> Architecture:
    """A tiny policy for `write_dataset`."""
    parts = {"policy": {**POLICY, **policy}, "backbone": BACKBONES[backbone], "head": head or L1}
    return architecture_for(dataset, **parts, chunk_size=4, n_action_steps=2, vocabulary_size=300)


def make_fit(dataset: Dataset, cache: Path, backbone: str = "light", head: dict | None = None, **settings) -> Fit:
    """A fit of a tiny policy."""
    known = {
        "steps": 4,
        "batch_size": 8,
        "validation_share": 0.25,
        "validate_every": 2,
        "save_every": 2,
        "warmup_steps": 1,
    }
    return Fit(dataset, architecture(dataset, backbone, head), FitSettings(**{**known, **settings}), cache=cache)
