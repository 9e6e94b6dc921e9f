"""Fits a policy to a dataset: AdamW with warm-up and cosine, moving average of the weights, validation, exact resume.

Runs on one device, or on many through `accelerate launch`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodied.core.errors import ConfigError
from embodied.core.policy import STATE_KEY
from embodied.data.dataset import Dataset
from embodied.data.layout import ACTION
from embodied.data.windows import Batches, Windows
from embodied.policies import vocabulary
from embodied.policies.checkpoint import Architecture, save_policy, weights_of
from embodied.policies.diffusion_vla import DiffusionVLA, Losses
from embodied.policies.fit_snapshot import load_fit, newest_fit, save_fit
from embodied.policies.normalization import Normalization


@dataclass(frozen=True)
class FitSettings:
    """How a policy is fitted.

    Attributes:
        steps: optimiser steps.
        batch_size: windows per step, over all devices.
        lr: of everything but the backbone.
        backbone_lr: of the backbone; None takes `lr`.
        weight_decay: of AdamW.
        warmup_steps: of the learning rate, before its cosine.
        clip_norm: bound of the gradient's norm.
        ema_power: of the moving average's warm-up (diffusion_policy: 0.75).
        shift_pixels: largest random shift of the pictures; 0 for none.
        validation_share: of the episodes, held out.
        validate_every: steps between validations.
        save_every: steps between snapshots.
        seed: of the weights, the batches and the noise.
        precision: `no`, `bf16` or `fp16`, as accelerate names them.
    """

    steps: int = 2000
    batch_size: int = 64
    lr: float = 1e-3
    backbone_lr: float | None = None
    weight_decay: float = 1e-4
    warmup_steps: int = 100
    clip_norm: float = 1.0
    ema_power: float = 0.75
    shift_pixels: int = 1
    validation_share: float = 0.05
    validate_every: int = 500
    save_every: int = 500
    seed: int = 0
    precision: str = "no"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or not self.lr > 0 or not 0 <= self.validation_share < 1:
            raise ConfigError(
                f"steps={self.steps}, batch_size={self.batch_size} must be at least 1, lr={self.lr} positive,"
                f" validation_share={self.validation_share} in [0, 1)"
            )
        if self.precision not in ("no", "bf16", "fp16"):
            raise ConfigError(f"precision={self.precision!r} is none of no, bf16, fp16")


@dataclass
class Progress:
    """What a fit reports: `kind` is `train` or `validation`."""

    kind: str
    step: int
    values: dict[str, float] = field(default_factory=dict)


def architecture_for(
    dataset: Dataset,
    *,
    policy: Mapping[str, Any],
    backbone: Mapping[str, Any],
    head: Mapping[str, Any],
    cameras: Sequence[str] | None = None,
    chunk_size: int = 16,
    n_action_steps: int = 8,
    vocabulary_size: int = 512,
) -> Architecture:
    """The architecture that fits a dataset; `cameras` are picture features, None takes all."""
    names = tuple(cameras or dataset.cameras)
    for key in (ACTION, STATE_KEY, *names):
        if key not in dataset.features:
            raise ConfigError(f"dataset {dataset.folder} lacks '{key}'; it has {', '.join(dataset.features)}")
    if not 1 <= n_action_steps <= chunk_size:
        raise ConfigError(f"n_action_steps={n_action_steps} must lie within 1 and chunk_size={chunk_size}")
    shapes = {dataset.features[key].shape[:2] for key in names}
    if len(shapes) != 1:
        raise ConfigError(f"cameras of one policy must give pictures of one size, got {sorted(shapes)}")
    return Architecture(
        policy=dict(policy),
        backbone=dict(backbone),
        head=dict(head),
        cameras=names,
        camera_shape=tuple(shapes.pop()),
        state_size=int(np.prod(dataset.features[STATE_KEY].shape)),
        action_size=int(np.prod(dataset.features[ACTION].shape)),
        chunk_size=chunk_size,
        n_action_steps=n_action_steps,
        fps=dataset.fps,
        vocabulary=vocabulary.train([*dataset.tasks, *dataset.subtasks], vocabulary_size),
    )


class Fit:
    """One training of one policy.

    Args:
        dataset: what is learned.
        architecture: of the policy.
        settings: of the training.
        cache: folder of decoded pictures; None takes the user's.
        trusted_packages: whose parts the architecture may name.
    """

    def __init__(
        self,
        dataset: Dataset,
        architecture: Architecture,
        settings: FitSettings,
        *,
        cache: Path | None = None,
        trusted_packages: Sequence[str] = (),
    ) -> None:
        from accelerate import Accelerator
        from diffusers.training_utils import EMAModel
        from transformers import get_cosine_schedule_with_warmup

        self.dataset, self.architecture, self.settings = dataset, architecture, settings
        self.accelerator = Accelerator(mixed_precision=settings.precision, cpu=not torch.cuda.is_available())
        torch.manual_seed(settings.seed)
        model = architecture.build(trusted_packages)
        self.normalization = Normalization.of(dataset.stats, ACTION, STATE_KEY)
        groups: Any = model.groups(settings.lr, settings.backbone_lr)
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=False)
        self.schedule = get_cosine_schedule_with_warmup(optimizer, settings.warmup_steps, settings.steps)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.ema = EMAModel(
            self.network.parameters(), decay=0.9999, use_ema_warmup=True, power=settings.ema_power, inv_gamma=1.0
        )
        self._batches(cache, model.backbone.picture_size)
        self.generator = torch.Generator().manual_seed(settings.seed + self.accelerator.process_index)
        torch.manual_seed(settings.seed + 1 + self.accelerator.process_index)
        self.step = 0

    @property
    def network(self) -> DiffusionVLA:
        """The network itself, whatever wraps it for several devices."""
        return self.accelerator.unwrap_model(self.model)

    def _batches(self, cache: Path | None, picture_size: tuple[int, int]) -> None:
        dataset, settings, processes = self.dataset, self.settings, self.accelerator.num_processes
        if settings.batch_size % processes:
            raise ConfigError(f"batch_size={settings.batch_size} must be a multiple of the {processes} processes")
        n = len(dataset.episodes)
        order = np.random.default_rng(settings.seed).permutation(n)
        held = round(settings.validation_share * n)
        steps: dict[str, Sequence[int]] = {ACTION: range(self.architecture.chunk_size), STATE_KEY: (0,)}
        steps |= {"task_index": (0,), **dict.fromkeys(self.architecture.cameras, (0,))}
        if dataset.subtasks:
            steps["subtask_index"] = (0,)
        sizes = dict.fromkeys(self.architecture.cameras, picture_size)

        def windows(rows: np.ndarray) -> Windows:
            return Windows(dataset, steps, episodes=sorted(rows.tolist()), sizes=sizes, cache=cache)

        train = windows(order[held:])
        self.batches = Batches(train, batch_size=min(settings.batch_size, len(train)), seed=settings.seed)
        self.held_out = windows(order[:held]) if held else None

    def losses(self, batch: Mapping[str, np.ndarray], *, augment: bool) -> Losses:
        """The losses of a batch of windows."""
        device = self.accelerator.device
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        batch = {key: value[rank::processes] for key, value in batch.items()}
        pictures = torch.from_numpy(np.stack([batch[k][:, 0] for k in self.architecture.cameras], axis=1))
        if augment and self.settings.shift_pixels:
            pictures = shifted(pictures, self.settings.shift_pixels, self.generator)
        tasks, subtasks = self.dataset.tasks, self.dataset.subtasks
        said = batch.get("subtask_index")
        return self.model(
            pictures.to(device),
            torch.from_numpy(self.normalization.states(batch[STATE_KEY][:, 0])).to(device),
            [tasks[int(i)] for i in batch["task_index"][:, 0]],
            [subtasks[int(i)] for i in said[:, 0]] if said is not None else [""] * len(pictures),
            torch.from_numpy(self.normalization.actions(batch[ACTION])).to(device),
            torch.from_numpy(~batch[f"{ACTION}_is_pad"]).to(device),
        )

    def run(
        self, folder: Path, report: Callable[[Progress], None] = lambda _: None, *, until: int | None = None
    ) -> Path:
        """Trains from the newest snapshot in `folder` (or from nothing) to the end; returns the policy's folder.

        Args:
            folder: of the training.
            report: called now and then.
            until: stop after this step, with a snapshot; None goes to the end.
        """
        if (newest := newest_fit(folder / "snapshots")) is not None:
            load_fit(newest, self)
        end = min(self.settings.steps, until or self.settings.steps)
        started, last = time.perf_counter(), self.step
        while self.step < end:
            values = self._train_step()
            self.step += 1
            if self.step % 50 == 0 or self.step == end:
                now = time.perf_counter()
                rate = {"steps_per_s": (self.step - last) / max(now - started, 1e-9)}
                report(Progress("train", self.step, {k: float(v) for k, v in values.items()} | rate))
                started, last = now, self.step
            if self.held_out is not None and (self.step % self.settings.validate_every == 0 or self.step == end):
                report(Progress("validation", self.step, self.validate()))
            if self.accelerator.is_main_process and (self.step % self.settings.save_every == 0 or self.step == end):
                save_fit(folder / "snapshots", self)
        self.accelerator.wait_for_everyone()
        return self.save(folder / "policy")

    def _train_step(self) -> dict[str, Tensor]:
        self.model.train()
        losses = self.losses(next(self.batches), augment=True)
        self.accelerator.backward(losses.total)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.step(self.network.parameters())
        return {name: getattr(losses, name).detach() for name in Losses.__dataclass_fields__}

    def validate(self, limit: int = 512) -> dict[str, float]:
        """Losses of the averaged weights on the held-out episodes, always on the same windows and noise."""
        assert self.held_out is not None
        rows = np.linspace(0, len(self.held_out) - 1, min(limit, len(self.held_out))).astype(int)
        parameters = list(self.network.parameters())
        self.ema.store(parameters)
        self.ema.copy_to(parameters)
        self.model.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng():
                torch.manual_seed(0)
                parts = [self.losses(self.held_out.at(r), augment=False) for r in np.array_split(rows, 8) if len(r)]
        finally:
            self.ema.restore(parameters)
        return {n: float(np.mean([float(getattr(p, n)) for p in parts])) for n in Losses.__dataclass_fields__}

    def save(self, folder: Path) -> Path:
        """Writes the policy with the averaged weights."""
        if self.accelerator.is_main_process:
            parameters = list(self.network.parameters())
            self.ema.store(parameters)
            self.ema.copy_to(parameters)
            save_policy(folder, weights_of(self.network), self.architecture, self.normalization)
            self.ema.restore(parameters)
        return folder


def shifted(pictures: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Each sample's pictures `(B, C, H, W, 3)` moved by up to `pixels`, the border repeated."""
    batch, _, height, width, _ = pictures.shape
    dy, dx = torch.randint(-pixels, pixels + 1, (2, batch, 1), generator=generator)
    rows = (torch.arange(height) + dy).clamp(0, height - 1)
    columns = (torch.arange(width) + dx).clamp(0, width - 1)
    index = torch.arange(batch)
    return pictures[index[:, None, None], :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)
