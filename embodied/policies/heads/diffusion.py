"""Diffusion over chunks (Diffusion Policy, Chi et al. 2023, arXiv:2303.04137) with DDIM (Song et al. 2020), as
DiffusionVLA uses it: 100 training steps, 10 at inference, squared cosine schedule.

The noise schedule and the sampler are those of the `diffusers` library.

Deviations:
- `noise_samples` draws of noise and time per feature make more of one pass of the backbone.
- A committed prefix is kept by in-painting: at every step it is put in at the present noise level, and exactly at the
  end (Lugmayr et al. 2022, arXiv:2201.09865, without resampling).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from embodied.core.errors import ConfigError
from embodied.policies.heads.base import ActionHead, masked_mean, with_prefix
from embodied.policies.heads.denoisers import make_denoiser


class DiffusionHead(ActionHead):
    """Draws chunks from a learned distribution.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        denoiser: `mlp`, `unet` or `dit`.
        denoiser_settings: of it.
        training_steps: noise levels in training.
        inference_steps: noise levels when sampling.
        noise_samples: draws per feature in training.
        prediction: what the denoiser says: `epsilon` (the noise) or `sample` (the chunk).
    """

    def __init__(
        self,
        *,
        feature_size: int,
        chunk_size: int,
        action_size: int,
        denoiser: str = "mlp",
        denoiser_settings: Mapping[str, Any] | None = None,
        training_steps: int = 100,
        inference_steps: int = 10,
        noise_samples: int = 4,
        prediction: str = "epsilon",
    ) -> None:
        super().__init__(feature_size=feature_size, chunk_size=chunk_size, action_size=action_size)
        if prediction not in ("epsilon", "sample"):
            raise ConfigError(f"prediction={prediction!r} is neither 'epsilon' nor 'sample'")
        if not 1 <= inference_steps <= training_steps or noise_samples < 1:
            raise ConfigError(
                f"inference_steps={inference_steps} must lie within 1 and training_steps={training_steps},"
                f" noise_samples={noise_samples} be at least 1"
            )
        from diffusers import DDIMScheduler

        self.scheduler = DDIMScheduler(
            num_train_timesteps=training_steps,
            beta_schedule="squaredcos_cap_v2",
            clip_sample=True,
            prediction_type=prediction,
        )
        self.training_steps, self.inference_steps = training_steps, inference_steps
        self.noise_samples, self.prediction = noise_samples, prediction
        sizes = {"action_size": action_size, "chunk_size": chunk_size, "condition_size": feature_size}
        self.denoiser = make_denoiser(denoiser, **sizes, **dict(denoiser_settings or {}))

    def loss(self, features: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Mean squared error of what the denoiser says."""
        self.check(features, actions, mask)
        k = self.noise_samples
        features, actions, mask = (x.repeat_interleave(k, 0) for x in (features, actions, mask))
        noise = torch.randn_like(actions)
        steps = torch.randint(0, self.training_steps, (len(actions),), device=actions.device)
        noisy = self.scheduler.add_noise(actions, noise, steps)
        said = self.denoiser(noisy, steps / self.training_steps, features)
        return masked_mean((said - (noise if self.prediction == "epsilon" else actions)).square(), mask)

    @torch.no_grad()
    def sample(
        self, features: Tensor, generator: torch.Generator | None = None, *, prefix: Tensor | None = None
    ) -> Tensor:
        """See `ActionHead.sample`."""
        shape = (len(features), self.chunk_size, self.action_size)
        start = torch.randn(shape, generator=generator, device=features.device, dtype=features.dtype)
        self.scheduler.set_timesteps(self.inference_steps, device=features.device)
        x = start
        for step in self.scheduler.timesteps:
            if prefix is not None:
                p = prefix.shape[1]
                x = with_prefix(x, self.scheduler.add_noise(prefix, start[:, :p], step[None]))
            time = (step / self.training_steps).expand(len(x))
            x = self.scheduler.step(self.denoiser(x, time, features), step, x, eta=0.0).prev_sample
        return with_prefix(x.clamp(-1.0, 1.0), prefix)

    def new_embodiment(self, action_size: int) -> None:
        """Fresh layers into and out of the denoiser: an action enters it too, other than in the paper's words."""
        self.action_size = action_size
        self.denoiser.new_embodiment(action_size)
