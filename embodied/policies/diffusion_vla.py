"""DiffusionVLA (Wen et al. 2024, arXiv:2412.03293): reasons in words, acts by diffusion.

A backbone reads pictures and instruction and speaks its reasoning (next-token loss); its hidden states condition
an action head (diffusion loss); the reasoning modulates them by FiLM: `x (1 + scale(r)) + shift(r)`. The loss is
`action + alpha reasoning`.

Deviations:
- The head is any action head (diffusion, flow matching, Fourier, binned, L1), not diffusion alone.
- The paper has a fixed number of action tokens, its released code pools all hidden states of the prompt; which of the
  two holds is the backbone's affair (ours: readout tokens in `light`, the mean elsewhere).
- The action tokens come before the reasoning, so that without FiLM the actions cannot depend on it at all; as in the
  released code, the projection's input is added back, and scale and shift begin at zero: at step 0 the policy is
  exactly the one without reasoning.
- alpha is 1 as in the released code, not 10 as in the paper, whose reasoning loss was ten times smaller than its
  diffusion loss; here the two are of one size.
- The released code normalises hidden states and the robot's state together; here the state goes past the normalisation,
  which would scale it by what is seen.
- The released code's 1-step shift of actions on real robots is left out.

Legend of shapes: B batch, C cameras, H x W pixels, S state, T chunk, A action, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from embodied.core.errors import ConfigError
from embodied.policies.backbones.base import Backbone, Understanding
from embodied.policies.heads.base import ActionHead

_SENSE_SIZE = 64


@dataclass(frozen=True)
class Losses:
    """The parts of one training loss, each a scalar."""

    total: Tensor
    action: Tensor
    reasoning: Tensor
    reasoning_accuracy: Tensor


class DiffusionVLA(nn.Module):
    """The network of the policy; `VLAPolicy` makes it act.

    Args:
        backbone: reads and speaks.
        head: makes actions of features of `feature_size`.
        state_size: S.
        feature_size: of what the head is given.
        reasoning: whether the reasoning is learned and injected; without it this is TinyVLA's scheme.
        alpha: weight of the reasoning's loss.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        head: ActionHead,
        state_size: int,
        feature_size: int,
        reasoning: bool = True,
        alpha: float = 1.0,
    ) -> None:
        super().__init__()
        if alpha < 0:
            raise ConfigError(f"alpha={alpha} must not be negative")
        self.backbone, self.head, self.reasoning, self.alpha = backbone, head, reasoning, alpha
        width = backbone.width
        self.project = _projector(width)
        if reasoning:
            self.project_reasoning = _projector(width)
            self.film = nn.Linear(width, 2 * width)
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)
        self.join = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, feature_size))
        self.sense = nn.Sequential(nn.Linear(state_size, _SENSE_SIZE), nn.GELU(), nn.Linear(_SENSE_SIZE, feature_size))

    def features(self, understood: Understanding, state: Tensor) -> Tensor:
        """What the head is given, `(B, feature_size)`, for normalised states `(B, S)`."""
        x = self.project(understood.prompt)
        if self.reasoning and understood.reasoning is not None:
            scale, shift = self.film(self.project_reasoning(understood.reasoning)).chunk(2, -1)
            x = x * (1.0 + scale) + shift
        return self.join(x + understood.prompt) + self.sense(state)

    def forward(
        self,
        pictures: Tensor,
        state: Tensor,
        instructions: Sequence[str],
        reasoning: Sequence[str],
        actions: Tensor,
        mask: Tensor,
    ) -> Losses:
        """The loss of a batch.

        Args:
            pictures: `(B, C, H, W, 3)` uint8.
            state: normalised `(B, S)`.
            instructions: B sentences.
            reasoning: B sentences.
            actions: normalised `(B, T, A)` in [-1, 1].
            mask: bool `(B, T)`, False where the chunk goes beyond its episode.
        """
        understood = self.backbone(pictures, instructions, reasoning if self.reasoning else None)
        action = self.head.loss(self.features(understood, state), actions, mask)
        zero = torch.zeros_like(action)
        words = zero if understood.reasoning_loss is None else understood.reasoning_loss
        right = zero if understood.correct is None else understood.correct
        return Losses(action + self.alpha * words, action, words, right)

    @torch.no_grad()
    def act(
        self,
        pictures: Tensor,
        state: Tensor,
        instructions: Sequence[str],
        reasoning: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        prefix: Tensor | None = None,
    ) -> tuple[Tensor, list[str]]:
        """Chunks `(B, T, A)` in [-1, 1] and the reasoning behind them.

        Args:
            pictures: `(B, C, H, W, 3)` uint8.
            state: normalised `(B, S)`.
            instructions: B sentences.
            reasoning: B sentences said before, to act on without thinking anew; None thinks.
            generator: of the head's noise.
            prefix: actions `(B, P, A)` already committed, which the chunks begin with.
        """
        said: Sequence[str] | None = None
        if self.reasoning:
            said = self.backbone.speak(pictures, instructions) if reasoning is None else reasoning
        understood = self.backbone(pictures, instructions, said)
        features = self.features(understood, state)
        return self.head.sample(features, generator, prefix=prefix), list(said or [""] * len(pictures))

    def groups(self, lr: float, backbone_lr: float | None = None) -> list[dict[str, object]]:
        """Parameter groups: the backbone's own, and everything else at `lr`."""
        own = set(map(id, self.backbone.parameters()))
        rest = [p for p in self.parameters() if id(p) not in own and p.requires_grad]
        return [*self.backbone.groups(backbone_lr or lr), {"params": rest, "lr": lr}]


def _projector(width: int) -> nn.Module:
    """The paper's two-layer MLP with normalisation."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
