"""Conditional flow matching over chunks (Lipman et al. 2022, arXiv:2210.02747), as pi0 uses it (Black et al. 2024,
arXiv:2410.24164): a straight path from noise to the chunk, its velocity learned, integrated by Euler steps.

Time runs from 0 (noise) to 1 (chunk). In training it is drawn as `0.999 (1 - u)`, u of Beta(1.5, 1), which prefers
noise, as in pi0's appendix B.

Deviations: as in `diffusion`: several draws per feature, in-painting of a committed prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from embodied.core.errors import ConfigError
from embodied.policies.heads.base import ActionHead, masked_mean, with_prefix
from embodied.policies.heads.denoisers import make_denoiser

_LATEST = 0.999


class FlowHead(ActionHead):
    """Draws chunks from a learned distribution.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        denoiser: `mlp`, `unet` or `dit`.
        denoiser_settings: of it.
        inference_steps: Euler steps.
        noise_samples: draws per feature in training.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        chunk_size: int,
        action_size: int,
        denoiser: str = "mlp",
        denoiser_settings: Mapping[str, Any] | None = None,
        inference_steps: int = 10,
        noise_samples: int = 4,
    ) -> None:
        super().__init__(feature_size=feature_size, chunk_size=chunk_size, action_size=action_size)
        if inference_steps < 1 or noise_samples < 1:
            raise ConfigError(f"inference_steps={inference_steps} and noise_samples={noise_samples} must be at least 1")
        self.inference_steps, self.noise_samples = inference_steps, noise_samples
        sizes = {"action_size": action_size, "chunk_size": chunk_size, "condition_size": feature_size}
        self.denoiser = make_denoiser(denoiser, **sizes, **dict(denoiser_settings or {}))

    def loss(self, features: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Mean squared error of the velocity."""
        self.check(features, actions, mask)
        k = self.noise_samples
        features, actions, mask = (x.repeat_interleave(k, 0) for x in (features, actions, mask))
        noise = torch.randn_like(actions)
        # u ~ Beta(1.5, 1) has the distribution function u^1.5.
        time = _LATEST * (1.0 - torch.rand(len(actions), device=actions.device).pow(1.0 / 1.5))
        at = time[:, None, None].to(actions.dtype)
        said = self.denoiser((1.0 - at) * noise + at * actions, time, features)
        return masked_mean((said - (actions - noise)).square(), mask)

    @torch.no_grad()
    def sample(
        self, features: Tensor, generator: torch.Generator | None = None, *, prefix: Tensor | None = None
    ) -> Tensor:
        """See `ActionHead.sample`."""
        shape = (len(features), self.chunk_size, self.action_size)
        start = torch.randn(shape, generator=generator, device=features.device, dtype=features.dtype)
        x = start
        for i in range(self.inference_steps):
            at = i / self.inference_steps
            if prefix is not None:
                x = with_prefix(x, (1.0 - at) * start[:, : prefix.shape[1]] + at * prefix)
            time = torch.full((len(x),), at, device=x.device, dtype=x.dtype)
            x = x + self.denoiser(x, time, features) / self.inference_steps
        return with_prefix(x.clamp(-1.0, 1.0), prefix)

    def new_embodiment(self, action_size: int) -> None:
        """Fresh layers into and out of the denoiser."""
        self.action_size = action_size
        self.denoiser.new_embodiment(action_size)
