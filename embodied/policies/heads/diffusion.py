"""Denoising diffusion of chunks (Diffusion Policy, Chi et al. 2023, arXiv:2303.04137).

Sampled by DDIM (Song et al. 2021, arXiv:2010.02502). As in DiffusionVLA (arXiv:2412.03293): 100 steps in training, 10
at inference, squared cosine schedule, clipped, noise predicted. The process runs in float32 whatever the precision of
the weights: bfloat16 schedules give NaN.

Deviations: time enters the denoiser as a fraction of the training steps; steps beyond the episode enter as zeros plus
noise and have no loss. For prefixes see `prefix`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from embodied.policies.heads.base import ActionHead, masked_mean, normal_noise
from embodied.policies.heads.denoisers import make_denoiser
from embodied.policies.heads.prefix import guidance_weight, guided_estimate


class DiffusionHead(ActionHead):
    """Chunks denoised from normal noise.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        denoiser: `mlp`, `unet`, `dit` or the dotted name of a `Denoiser`.
        denoiser_options: its further keyword arguments.
        training_steps: levels of noise.
        inference_steps: of DDIM, at most `training_steps`.
        prediction: what the denoiser gives, `epsilon` (the noise) or `sample` (the chunk).
        noise_samples: levels and noises per chunk in a batch: one pass of the encoder serves them all.
        guidance: limit of its weight where a prefix is to be continued; 0 in-paints without it.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        chunk_size: int,
        action_size: int,
        denoiser: str = "mlp",
        denoiser_options: Mapping[str, Any] | None = None,
        training_steps: int = 100,
        inference_steps: int = 10,
        prediction: Literal["epsilon", "sample"] = "epsilon",
        noise_samples: int = 4,
        guidance: float = 5.0,
    ) -> None:
        super().__init__(feature_size=feature_size, chunk_size=chunk_size, action_size=action_size)
        self.at_least(1, inference_steps=inference_steps, noise_samples=noise_samples)
        self.at_least(0, guidance=guidance)
        self.at_least(inference_steps, training_steps=training_steps)
        self.one_of(("epsilon", "sample"), prediction=prediction)
        sizes = {"feature_size": feature_size, "chunk_size": chunk_size, "action_size": action_size}
        self.denoiser = make_denoiser(denoiser, denoiser_options, **sizes)
        self.prediction, self.noise_samples, self.guidance = prediction, noise_samples, guidance
        self.training_steps = training_steps
        self.schedule = DDIMScheduler(
            num_train_timesteps=training_steps,
            beta_schedule="squaredcos_cap_v2",
            clip_sample=True,
            prediction_type=prediction,
        )
        self.schedule.set_timesteps(inference_steps)

    def _loss(self, features: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        k = self.noise_samples
        features, mask = features.repeat(k, 1), mask.repeat(k, 1)
        chunk = actions.float().repeat(k, 1, 1)
        noise = torch.randn_like(chunk)
        steps = torch.randint(self.training_steps, (len(chunk),), device=chunk.device)
        output = self._denoise(self.schedule.add_noise(chunk, noise, steps), steps, features)
        return masked_mean((output - (noise if self.prediction == "epsilon" else chunk)).square(), mask)

    def _sample(self, features: Tensor, generator: torch.Generator | None, prefix: Tensor | None) -> Tensor:
        noise = normal_noise((len(features), self.chunk_size, self.action_size), features, generator)
        chunk = noise
        for step in self.schedule.timesteps:
            steps = step.to(features.device).expand(len(features))
            if prefix is None:
                output = self._denoise(chunk, steps, features)
            else:
                begin = self.schedule.add_noise(prefix.float(), noise[:, : prefix.shape[1]], steps)
                chunk = torch.cat([begin, chunk[:, prefix.shape[1] :]], dim=1)
                output = self._guided(chunk, steps, features, prefix.float())
            chunk = self.schedule.step(output, step, chunk).prev_sample
        return chunk

    def _guided(self, chunk: Tensor, steps: Tensor, features: Tensor, prefix: Tensor) -> Tensor:
        """The denoiser's output, corrected towards chunks that begin with the prefix.

        A chunk `a x + s noise` over `a + s` lies on the straight line at time `a / (a + s)`, for which the guidance is
        written.
        """
        if not self.guidance:
            return self._denoise(chunk, steps, features)
        level = float(self.schedule.alphas_cumprod[int(steps[0])])
        a, s = math.sqrt(level), math.sqrt(1.0 - level)

        def estimate(x: Tensor, f: Tensor) -> Tensor:
            output = self._denoise(x, steps, f)
            return (x - s * output) / a if self.prediction == "epsilon" else output

        clean, direction = guided_estimate(estimate, chunk, features, prefix)
        clean = clean + s * guidance_weight(a / (a + s), self.guidance) * direction
        return (chunk - a * clean) / s if self.prediction == "epsilon" else clean

    def _denoise(self, chunk: Tensor, steps: Tensor, features: Tensor) -> Tensor:
        time = steps.float() / self.training_steps
        return self.denoiser(chunk.to(features.dtype), time, features).float()

    def new_embodiment(self, action_size: int) -> None:
        """Fresh first and last projections of the denoiser."""
        self.at_least(1, action_size=action_size)
        self.action_size = action_size
        self.denoiser.new_embodiment(action_size)
