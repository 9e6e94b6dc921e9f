"""Conditional flow matching of chunks (Lipman et al. 2023, arXiv:2210.02747; pi0, Black et al. 2024, arXiv:2410.24164).

The path is the straight line `x_t = (1 - t) noise + t actions`, the target its velocity `actions - noise`; sampling
follows the velocity from t = 0 in equal Euler steps. The times of training are drawn as pi0 draws them, more often near
the noise: `t = s (1 - u)`, `u ~ Beta(1.5, 1)`, s = 0.999 (pi0, appendix B).

Deviations: as in the paper t = 1 is the action (openpi's code runs the other way); steps beyond the episode enter as
zeros plus noise and have no loss. For prefixes see `prefix`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from embodied.core.errors import ConfigError
from embodied.policies.heads.base import ActionHead, masked_mean, normal_noise
from embodied.policies.heads.denoisers import make_denoiser
from embodied.policies.heads.prefix import guidance_weight, guided_estimate


class FlowHead(ActionHead):
    """Chunks that flow from normal noise.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        denoiser: `mlp`, `unet`, `dit` or the dotted name of a `Denoiser`.
        denoiser_options: its further keyword arguments.
        inference_steps: of Euler.
        time_alpha: of the Beta(alpha, 1) of the training times; 1 is uniform.
        time_range: s above, in (0, 1].
        noise_samples: times and noises per chunk in a batch: one pass of the encoder serves them all.
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
        inference_steps: int = 10,
        time_alpha: float = 1.5,
        time_range: float = 0.999,
        noise_samples: int = 4,
        guidance: float = 5.0,
    ) -> None:
        super().__init__(feature_size=feature_size, chunk_size=chunk_size, action_size=action_size)
        self.at_least(1, inference_steps=inference_steps, noise_samples=noise_samples)
        self.at_least(0, guidance=guidance)
        if time_alpha <= 0.0 or not 0.0 < time_range <= 1.0:
            raise ConfigError(
                f"FlowHead: time_alpha={time_alpha} must be positive and time_range={time_range} within (0, 1]"
            )
        sizes = {"feature_size": feature_size, "chunk_size": chunk_size, "action_size": action_size}
        self.denoiser = make_denoiser(denoiser, denoiser_options, **sizes)
        self.inference_steps, self.noise_samples = inference_steps, noise_samples
        self.time_alpha, self.time_range, self.guidance = time_alpha, time_range, guidance

    def _loss(self, features: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        k = self.noise_samples
        features, mask = features.repeat(k, 1), mask.repeat(k, 1)
        chunk = actions.float().repeat(k, 1, 1)
        noise = torch.randn_like(chunk)
        # The inverse of the CDF u^alpha of Beta(alpha, 1).
        drawn = torch.rand(len(chunk), device=chunk.device) ** (1.0 / self.time_alpha)
        time = self.time_range * (1.0 - drawn)
        velocity = self._velocity(torch.lerp(noise, chunk, time[:, None, None]), time, features)
        return masked_mean((velocity - (chunk - noise)).square(), mask)

    def _sample(self, features: Tensor, generator: torch.Generator | None, prefix: Tensor | None) -> Tensor:
        noise = normal_noise((len(features), self.chunk_size, self.action_size), features, generator)
        chunk = noise
        for step in range(self.inference_steps):
            now = step / self.inference_steps
            time = torch.full((len(features),), now, device=features.device)
            if prefix is None:
                velocity = self._velocity(chunk, time, features)
            else:
                begin = torch.lerp(noise[:, : prefix.shape[1]], prefix.float(), now)
                chunk = torch.cat([begin, chunk[:, prefix.shape[1] :]], dim=1)
                velocity = self._guided(chunk, time, features, prefix.float())
            chunk = chunk + velocity / self.inference_steps
        return chunk

    def _guided(self, chunk: Tensor, time: Tensor, features: Tensor, prefix: Tensor) -> Tensor:
        """The velocity, corrected towards chunks that begin with the prefix."""
        if not self.guidance:
            return self._velocity(chunk, time, features)
        left = 1.0 - float(time[0])
        clean, direction = guided_estimate(lambda x, f: x + left * self._velocity(x, time, f), chunk, features, prefix)
        return (clean - chunk) / left + guidance_weight(1.0 - left, self.guidance) * direction

    def _velocity(self, chunk: Tensor, time: Tensor, features: Tensor) -> Tensor:
        return self.denoiser(chunk.to(features.dtype), time, features).float()

    def new_embodiment(self, action_size: int) -> None:
        """Fresh first and last projections of the denoiser."""
        self.at_least(1, action_size=action_size)
        self.action_size = action_size
        self.denoiser.new_embodiment(action_size)
