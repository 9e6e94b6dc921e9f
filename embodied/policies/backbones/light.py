"""A light backbone for a CPU: a convolutional eye and a small transformer, trained from nothing.

The sequence is `[picture tokens, instruction, readout tokens | reasoning]`. The first part sees itself whole and never
the reasoning, which sees everything before it (a prefix language model). The readout tokens are what DiffusionVLA
(arXiv:2412.03293) calls action tokens: their hidden states go to the action head. They begin with where each feature of
the pictures is seen (spatial softmax, Levine et al. 2016, arXiv:1504.00702): attention alone takes far longer to learn
where things are, and that is most of what an arm must know.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied.core.errors import ConfigError
from embodied.policies.backbones.base import Backbone, Understanding, normalized
from embodied.policies.vocabulary import Vocabulary


class LightBackbone(Backbone):
    """About 0.6 million weights at the default width.

    Args:
        vocabulary: what `vocabulary.train` returned for the dataset's sentences.
        n_cameras: C.
        picture_size: (H, W) [pixels], multiples of 8.
        width: d, a multiple of `heads`.
        layers: of the transformer.
        heads: of each layer.
        readout_tokens: number of action tokens.
        max_words: longest instruction and longest reasoning [tokens].
        dropout: of the transformer.
    """

    def __init__(
        self,
        *,
        vocabulary: str,
        n_cameras: int = 1,
        picture_size: Sequence[int] = (64, 64),
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        readout_tokens: int = 4,
        max_words: int = 48,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        height, wide = picture_size
        if height % 8 or wide % 8 or width % heads:
            raise ConfigError(f"picture_size={tuple(picture_size)} needs multiples of 8, width={width} one of {heads}")
        self.words, self.width, self.picture_size = Vocabulary(vocabulary), width, (height, wide)
        self.eye = nn.Sequential(
            _stage(3, width // 4), _stage(width // 4, width // 2), _stage(width // 2, width), nn.Flatten(2)
        )
        places = (height // 8) * (wide // 8)
        self.place = nn.Parameter(0.02 * torch.randn(n_cameras, places, width))
        self.embedding = nn.Embedding(len(self.words), width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.order = nn.Parameter(0.02 * torch.randn(2, max_words + 2, width))  # instruction, reasoning
        self.readout = nn.Parameter(0.02 * torch.randn(readout_tokens, width))
        self.sharpness = nn.Parameter(torch.full((width, 1), 4.0))  # of each feature's softmax over places
        self.pointing = nn.Linear(n_cameras * 2 * width, width)
        rows, columns = torch.meshgrid(
            torch.linspace(-1, 1, height // 8), torch.linspace(-1, 1, wide // 8), indexing="ij"
        )
        self.register_buffer("grid", torch.stack([columns, rows], -1).reshape(-1, 2), persistent=False)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.max_words = max_words

    def forward(
        self, pictures: Tensor, instructions: Sequence[str], reasoning: Sequence[str] | None = None
    ) -> Understanding:
        """See `Backbone.forward`."""
        prompt, caches = self._prompt(pictures, instructions)
        if reasoning is None:
            return Understanding(prompt)
        ids = self.words.encode(reasoning, frame=True, device=prompt.device)[:, : self.max_words + 2]
        hidden = self._continue(ids[:, :-1], caches)
        wanted, real = ids[:, 1:], ids[:, 1:] != self.words.pad
        logits = hidden @ self.embedding.weight.T
        loss = F.cross_entropy(logits[real], wanted[real])
        correct = (logits.argmax(-1) == wanted)[real].float().mean()
        return Understanding(prompt, _mean(hidden, real), loss, correct)

    @torch.no_grad()
    def speak(self, pictures: Tensor, instructions: Sequence[str], *, max_tokens: int = 32) -> list[str]:
        """See `Backbone.speak`."""
        _, caches = self._prompt(pictures, instructions)
        ids = torch.full((len(pictures), 1), self.words.begin, device=pictures.device)
        ended = torch.zeros(len(pictures), dtype=torch.bool, device=pictures.device)
        for _ in range(min(max_tokens, self.max_words)):
            hidden = self._continue(ids, caches)[:, -1]
            chosen = (hidden @ self.embedding.weight.T).argmax(-1)
            chosen = torch.where(ended, torch.full_like(chosen, self.words.pad), chosen)
            ids, ended = torch.cat([ids, chosen[:, None]], 1), ended | (chosen == self.words.end)
            if ended.all():
                break
        return [self.words.decode(row) for row in ids[:, 1:].tolist()]

    def vocabulary(self) -> str:
        """See `Backbone.vocabulary`."""
        return self.words.text

    def _prompt(self, pictures: Tensor, instructions: Sequence[str]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The prompt's readout `(B, d)`, and each layer's keys, values and mask for what follows."""
        batch, cameras = pictures.shape[:2]
        if tuple(pictures.shape[2:]) != (*self.picture_size, 3) or cameras != len(self.place):
            raise ConfigError(
                f"pictures of {tuple(pictures.shape)}; this backbone takes (B, {len(self.place)},"
                f" {self.picture_size[0]}, {self.picture_size[1]}, 3)"
            )
        seen = self.eye(normalized(pictures.flatten(0, 1)))
        points = torch.softmax(self.sharpness * seen, -1) @ self.grid
        readout = self.readout + self.pointing(points.reshape(batch, 1, -1))
        seen = seen.transpose(1, 2)
        seen = (seen.reshape(batch, cameras, *seen.shape[1:]) + self.place).flatten(1, 2)
        ids = self.words.encode(instructions, device=pictures.device)[:, : self.max_words]
        read = self.embedding(ids) + self.order[0, : ids.shape[1]]
        x = torch.cat([seen, read, readout], 1)
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        real[:, seen.shape[1] : seen.shape[1] + ids.shape[1]] = ids != self.words.pad
        caches = []
        for i, block in enumerate(self.blocks):
            # Of the last layer only the readout's states are used; the others serve as keys and values alone.
            wanted = len(self.readout) if i + 1 == len(self.blocks) else x.shape[1]
            x, keys = block(x, real[:, None, None, :], None, wanted)
            caches.append((keys, real))
        return self.norm(x).mean(1), caches

    def _continue(self, ids: Tensor, caches: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Hidden states `(B, R, d)` of reasoning tokens after the prompt."""
        x = self.embedding(ids) + self.order[1, : ids.shape[1]]
        causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
        for block, (keys, real) in zip(self.blocks, caches, strict=True):
            before = real[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
            mask = torch.cat([before, causal.expand(len(ids), 1, -1, -1)], -1)
            x, _ = block(x, mask, keys, ids.shape[1])
        return self.norm(x)


def _stage(into: int, out: int) -> nn.Module:
    """Half the size: two convolutions, normalised in groups."""
    return nn.Sequential(
        nn.Conv2d(into, out, 5 if into == 3 else 3, stride=2, padding=2 if into == 3 else 1),
        nn.GroupNorm(8, out),
        nn.SiLU(),
        nn.Conv2d(out, out, 3, padding=1) if into != 3 else nn.Identity(),
        nn.GroupNorm(8, out) if into != 3 else nn.Identity(),
        nn.SiLU() if into != 3 else nn.Identity(),
    )


def _mean(hidden: Tensor, real: Tensor) -> Tensor:
    """Mean over real tokens, `(B, d)`."""
    weight = real.to(hidden.dtype)[..., None]
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1.0)


class _Block(nn.Module):
    """Pre-norm attention and MLP for the last `wanted` tokens, which see all tokens and those `before` (their keys)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.keys, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor, mask: Tensor, before: Tensor | None, wanted: int) -> tuple[Tensor, Tensor]:
        batch, length, width = x.shape
        normed, x = self.first(x), x[:, length - wanted :]
        own = self.keys(normed).reshape(batch, length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        query = self.query(normed[:, length - wanted :]).reshape(batch, wanted, self.heads, -1).transpose(1, 2)
        keys = own if before is None else torch.cat([before, own], -2)
        seen = F.scaled_dot_product_attention(query, keys[0], keys[1], attn_mask=mask)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, wanted, width))
        return x + self.mlp(self.second(x)), own
