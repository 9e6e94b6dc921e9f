"""Fourier densities per action component (Gillman et al. 2024, arXiv:2410.22269, as an action head).

Deviations: continuous actions instead of bins when drawing, and the even extension by default, because expert actions
lie at their limits in a third of all samples; see `embodied.policies.fourier`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from embodied.core.errors import ConfigError
from embodied.policies.fourier import FourierLinear
from embodied.policies.heads.base import ActionHead, masked_mean, with_prefix
from embodied.policies.heads.binned import ComponentFeatures, bin_of, centre_of

_PERIODIC_SPAN = 0.9  # of [-1, 1]: what lies at a limit then leaks to neither side


class FourierHead(ActionHead):
    """One smooth density per step and component, from one shared layer.

    Args:
        feature_size: F.
        chunk_size: T.
        action_size: A.
        bins: in which the density is trained by cross entropy.
        num_frequencies: N.
        gamma: weight of the smoothness penalty.
        extension: `even` or `periodic`.
        hidden_size: of the MLP before.
        draw: `mode` takes the most probable bin's centre, `sample` draws a continuous action.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        chunk_size: int,
        action_size: int,
        bins: int = 64,
        num_frequencies: int = 16,
        gamma: float = 0.0,
        extension: str = "even",
        hidden_size: int = 256,
        draw: str = "mode",
    ) -> None:
        super().__init__(feature_size=feature_size, chunk_size=chunk_size, action_size=action_size)
        if draw not in ("mode", "sample"):
            raise ConfigError(f"draw={draw!r} is neither 'mode' nor 'sample'")
        self.bins, self.draw = bins, draw
        self.span = _PERIODIC_SPAN if extension == "periodic" else 1.0
        self.components = ComponentFeatures(feature_size, chunk_size, action_size, hidden_size)
        self.last = FourierLinear(
            self.components.size,
            bins,
            num_frequencies=num_frequencies,
            gamma=gamma,
            extension=extension,
            penalty="scale_invariant",
            init_scale=0.1,
        )

    def loss(self, features: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Mean cross entropy per component [nats] and the penalty."""
        self.check(features, actions, mask)
        logits = self.last(self.components(features))
        wanted = bin_of(actions * self.span, self.bins)
        cross = F.cross_entropy(logits.flatten(0, 2), wanted.flatten(), reduction="none").reshape(actions.shape)
        return masked_mean(cross, mask) + self.last.gamma * self.last.penalty

    @torch.no_grad()
    def sample(
        self, features: Tensor, generator: torch.Generator | None = None, *, prefix: Tensor | None = None
    ) -> Tensor:
        """See `ActionHead.sample`."""
        component = self.components(features)
        if self.draw == "mode":
            chunk = centre_of(self.last(component).argmax(-1), self.bins)
        else:
            chunk = self.last.density(component).sample(generator)
        return with_prefix((chunk / self.span).clamp(-1.0, 1.0), prefix)

    def new_embodiment(self, action_size: int) -> None:
        """Fresh features per component; the Fourier layer is shared by all and stays."""
        self.action_size = action_size
        self.components.new_embodiment(action_size)
