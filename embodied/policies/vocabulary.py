"""Sub-word vocabularies trained on a dataset's own sentences: byte-level BPE, so that nothing is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

PAD, BEGIN, END = "<pad>", "<begin>", "<end>"


def train(sentences: Iterable[str], size: int = 512) -> str:
    """A vocabulary of at most `size` tokens, as the JSON text of the `tokenizers` library."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(set(sentences)), trainer)
    return tokenizer.to_str()


class Vocabulary:
    """A trained vocabulary.

    Args:
        text: what `train` returned.
    """

    def __init__(self, text: str) -> None:
        from tokenizers import Tokenizer

        self.text, self._tokenizer = text, Tokenizer.from_str(text)
        self.pad, self.begin, self.end = (self._tokenizer.token_to_id(t) for t in (PAD, BEGIN, END))

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, sentences: Sequence[str], *, frame: bool = False, device: torch.device | None = None) -> Tensor:
        """Token ids `(B, L)`, padded on the right; with `frame` between begin and end."""
        rows = [self._tokenizer.encode(s, add_special_tokens=False).ids for s in sentences]
        if frame:
            rows = [[self.begin, *row, self.end] for row in rows]
        length = max(1, *(len(row) for row in rows))
        return torch.tensor([row + [self.pad] * (length - len(row)) for row in rows], device=device)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids up to the first end or padding."""
        kept = []
        for i in ids:
            if i in (self.end, self.pad):
                break
            kept.append(int(i))
        return self._tokenizer.decode(kept).strip()
