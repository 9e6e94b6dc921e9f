"""LeRobot's ACT or Diffusion Policy, trained and tried on our data and tasks, in its own environment.

    LEROBOT/bin/python lerobot_policy.py <act|diffusion> <dataset> <steps> <seed> <episodes> <task> ...

The encoder has the size of ours; which task it is comes as one-hot numbers behind the state, since neither policy reads
sentences. Prints one JSON line. `time` instead of steps only measures the time of a training step, `speed` that of a
chunk.
"""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace
from typing import Any

import lerobot_loading  # noqa: F401  (makes torchvision importable beside this torch)
import numpy as np
import torch
import torchvision
from torch import nn


class SmallResNet(nn.Module):
    """The convolutions of our light backbone under the names of torchvision's ResNet."""

    def __init__(self, **_: Any) -> None:
        super().__init__()

        def norm(size: int) -> nn.Module:
            return nn.GroupNorm(8, size)

        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 32, 5, stride=2, padding=2), norm(32), nn.SiLU()
        self.layer1 = nn.Sequential(nn.Conv2d(32, 64, 3, stride=2, padding=1), norm(64), nn.SiLU())
        self.layer2 = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), norm(64), nn.SiLU())
        self.layer3 = nn.Sequential(nn.Conv2d(64, 128, 3, stride=2, padding=1), norm(128), nn.SiLU())
        self.layer4 = nn.Sequential(nn.Conv2d(128, 128, 3, padding=1), norm(128), nn.SiLU())
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(128, 10)


def _without_every_policy() -> None:
    """LeRobot's package of policies imports all of them, some of which do not load beside this transformers."""
    import types
    from pathlib import Path

    import lerobot

    package = types.ModuleType("lerobot.policies")
    package.__path__ = [str(Path(lerobot.__file__).parent / "policies")]
    sys.modules["lerobot.policies"] = package


_without_every_policy()
torchvision.models.resnet_small = lambda **settings: SmallResNet(**settings)


def make(kind: str, state_size: int, action_size: int, chunk: int, steps: int) -> tuple[Any, float]:
    """The policy and its learning rate."""
    from lerobot.configs.types import FeatureType, PolicyFeature

    features = {
        "input_features": {
            "observation.state": PolicyFeature(FeatureType.STATE, (state_size,)),
            "observation.images.front": PolicyFeature(FeatureType.VISUAL, (3, 64, 64)),
        },
        "output_features": {"action": PolicyFeature(FeatureType.ACTION, (action_size,))},
        "device": "cpu",
        "vision_backbone": "resnet_small",
        "pretrained_backbone_weights": None,
        "n_obs_steps": 1,
        "n_action_steps": steps,
    }
    if kind == "act":
        from lerobot.policies.act.configuration_act import ACTConfig
        from lerobot.policies.act.modeling_act import ACTPolicy

        sizes = {"dim_model": 128, "n_heads": 4, "dim_feedforward": 512, "n_encoder_layers": 2}
        return ACTPolicy(ACTConfig(**features, **sizes, chunk_size=chunk, n_vae_encoder_layers=2)), 3e-4
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

    sizes = {"down_dims": (64, 128), "horizon": chunk, "noise_scheduler_type": "DDIM", "num_inference_steps": 10}
    return DiffusionPolicy(DiffusionConfig(**features, **sizes, do_mask_loss_for_padding=True)), 1e-3


class Adapter:
    """One of LeRobot's policies where ours would act."""

    def __init__(self, policy: Any, kind: str, scale: dict[str, np.ndarray], dataset: Any) -> None:
        self.policy, self.kind, self.scale, self.tasks = policy.eval(), kind, scale, dataset.tasks
        self.features = {k: dataset.features[k].shape for k in ("observation.state", "observation.images.front")}
        self.action_size, self.fps = dataset.features["action"].shape[0], dataset.fps
        self.architecture = SimpleNamespace(camera_shape=self.features["observation.images.front"][:2])
        self.n_action_steps, self.think_every = 8, 1

    def predict(self, seen: dict, told: list[str], _: Any = None) -> tuple[np.ndarray, list[str]]:
        """As `VLAPolicy.predict`."""
        from embodied.data.frame_cache import shrunk

        state = (seen["observation.state"] - self.scale["mean"]) / self.scale["std"]
        one_hot = np.eye(len(self.tasks))[[self.tasks.index(t) for t in told]]
        batch = to_batch(shrunk(seen["observation.images.front"], (64, 64)), np.concatenate([state, one_hot], 1))
        with torch.no_grad():
            return np.clip(chunk_of(self.policy, self.kind, batch).numpy(), -1, 1), [""] * len(told)


def to_batch(pictures: np.ndarray, state: np.ndarray) -> dict[str, torch.Tensor]:
    images = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    return {"observation.state": torch.from_numpy(state).float(), "observation.images.front": images}


def chunk_of(policy: Any, kind: str, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    if kind == "act":
        return policy.predict_action_chunk(batch)
    stacked = {
        "observation.state": batch["observation.state"][:, None],
        "observation.images": batch["observation.images.front"][:, None, None],
    }
    return policy.diffusion.generate_actions(stacked)


def train(policy: Any, kind: str, lr: float, dataset: Any, total: int, seed: int) -> dict[str, Any]:
    """AdamW with warm-up and cosine."""
    from embodied.data.windows import Batches, Windows

    steps = {"action": range(16), "observation.state": (0,), "observation.images.front": (0,), "task_index": (0,)}
    batches = Batches(Windows(dataset, steps, sizes={"observation.images.front": (64, 64)}), batch_size=64, seed=seed)
    scale = {k: dataset.stats["observation.state"][k] for k in ("mean", "std")}
    optimizer = torch.optim.AdamW(policy.parameters(), lr=lr, weight_decay=1e-4)
    times, loss = [], torch.zeros(())
    policy.train()
    for done in range(total):
        begin = time.process_time()
        batch = next(batches)
        state = (batch["observation.state"][:, 0] - scale["mean"]) / np.maximum(scale["std"], 1e-2)
        one_hot = np.eye(len(dataset.tasks))[batch["task_index"][:, 0]]
        given = to_batch(batch["observation.images.front"][:, 0], np.concatenate([state, one_hot], 1))
        given |= {
            "action": torch.from_numpy(batch["action"]),
            "action_is_pad": torch.from_numpy(batch["action_is_pad"]),
        }
        if kind == "diffusion":
            given["observation.state"] = given["observation.state"][:, None]
            given["observation.images.front"] = given["observation.images.front"][:, None]
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (done + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * min(1.0, done / total)))
        loss, _ = policy.forward(given)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 10.0)
        optimizer.step()
        times.append(time.process_time() - begin)
    return {"steps": total, "cpu_s": sum(times), "step_s": float(np.median(times[10:])), "loss": float(loss.detach())}


def main() -> None:
    import lerobot

    from embodied.data.dataset import Dataset

    kind, folder, steps, *more = sys.argv[1:]
    seed, episodes, *names = more or ["0", "0"]
    torch.set_num_threads(1)
    torch.manual_seed(int(seed))
    dataset: Any = None if steps == "speed" else Dataset(folder)
    size = 4 + 6 if dataset is None else dataset.column("observation.state").shape[1] + len(dataset.tasks)
    policy, lr = make(kind, size, 4, 16, 8)
    weights = sum(p.numel() for p in policy.parameters())
    row: dict[str, Any] = {"version": lerobot.__version__, "kind": kind, "weights": weights}
    if steps == "speed":
        policy.eval()
        batch = to_batch(np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, size)))
        times = []
        with torch.no_grad():
            for _ in range(60):
                begin = time.process_time()
                chunk_of(policy, kind, batch)
                times.append(1e3 * (time.process_time() - begin))
        print(json.dumps({**row, "chunk_cpu_ms": float(np.median(times[10:]))}))
        return
    row |= train(policy, kind, lr, dataset, 40 if steps == "time" else int(steps), int(seed))
    if steps == "time":
        print(json.dumps(row))
        return
    from embodied.policies.trial import try_out
    from embodied.rl.writing import make_task

    scale = {
        "mean": dataset.stats["observation.state"]["mean"],
        "std": np.maximum(dataset.stats["observation.state"]["std"], 1e-2),
    }
    adapter: Any = Adapter(policy, kind, scale, dataset)
    found = {}
    for name in names:
        trial = try_out(make_task(name), adapter, episodes=int(episodes), seed=777 + int(seed), episode_steps=200)
        found[name] = int(trial.success.sum())
    print(json.dumps({**row, "success": found, "episodes": int(episodes)}))


if __name__ == "__main__":
    main()
