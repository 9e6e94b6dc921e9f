"""The backbone contract of vision-language-action policies.

Legend of shapes: B batch, C cameras, H x W pixels, d width, R reasoning tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Understanding:
    """What a backbone makes of its inputs.

    Attributes:
        prompt: the pictures and the instruction `(B, d)`; never depends on the reasoning.
        reasoning: the reasoning given or spoken `(B, d)`; None without any.
        reasoning_loss: mean cross entropy per reasoning token, a scalar; None without any.
        correct: share of reasoning tokens that were most probable, a scalar; None without any.
    """

    prompt: Tensor
    reasoning: Tensor | None = None
    reasoning_loss: Tensor | None = None
    correct: Tensor | None = None


class Backbone(nn.Module, ABC):
    """Reads pictures and instructions, and can reason in words.

    Attributes:
        width: d.
        picture_size: (H, W) [pixels] of the pictures it takes.
    """

    width: int
    picture_size: tuple[int, int]

    @abstractmethod
    def forward(
        self, pictures: Tensor, instructions: Sequence[str], reasoning: Sequence[str] | None = None
    ) -> Understanding:
        """Understands a batch; with `reasoning`, also how probable these words are.

        Args:
            pictures: `(B, C, H, W, 3)` uint8.
            instructions: B sentences.
            reasoning: B sentences, or None.
        """

    @abstractmethod
    def speak(self, pictures: Tensor, instructions: Sequence[str], *, max_tokens: int = 32) -> list[str]:
        """The most probable reasoning, word by word (greedy), for each of B."""

    @abstractmethod
    def vocabulary(self) -> str:
        """The tokenizer as JSON text; the constructor's `vocabulary` takes it back."""

    def groups(self, lr: float) -> list[dict[str, object]]:
        """Parameter groups for the optimiser; a backbone with pretrained parts may slow these down."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": lr}]


def normalized(pictures: Tensor) -> Tensor:
    """Pictures `(..., H, W, 3)` uint8 as floats `(..., 3, H, W)` in [-1, 1]."""
    return pictures.movedim(-1, -3).to(torch.float32).div_(127.5).sub_(1.0)
