"""What pretrained vision-language models share as backbones: a causal model reads placeholders for picture
tokens, the instruction, and then its own reasoning.

The prompt is a chat turn with one picture slot per camera, the reasoning is the answer; both spans are pooled by their
mean, as DiffusionVLA's released code does. A batch is padded on the left, so that reasoning begins at one place.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from embodied.core.errors import ConfigError
from embodied.policies.backbones.base import Backbone, Understanding

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class VLMBackbone(Backbone):
    """A model of the `transformers` library behind our contract. A subclass says how pictures enter it.

    Args:
        model: the conditional-generation model.
        tokenizer: JSON text of a `tokenizers` tokenizer that knows `special`.
        special: names of the special tokens: `pad`, `end`, `picture` and, around pictures, `before`, `after`.
        prompt: text around the pictures and the instruction, e.g. `{pictures}{instruction}`.
        n_cameras: C.
        picture_size: (H, W) [pixels].
        dtype: of the weights: `float32`, `bfloat16` or `float16`.
        lora_rank: rank of adapters on the attention's projections; 0 trains all weights that are not frozen.
        freeze_vision: keep the vision tower as it is.
        gradient_checkpointing: save memory for time.
        max_words: longest reasoning [tokens].
    """

    def __init__(
        self,
        *,
        model: Any,
        tokenizer: str,
        special: Mapping[str, str],
        prompt: str,
        n_cameras: int,
        picture_size: Sequence[int],
        dtype: str = "float32",
        lora_rank: int = 0,
        freeze_vision: bool = False,
        gradient_checkpointing: bool = False,
        max_words: int = 64,
    ) -> None:
        super().__init__()
        from tokenizers import Tokenizer

        if dtype not in _DTYPES:
            raise ConfigError(f"dtype={dtype!r} is none of {', '.join(_DTYPES)}")
        self._text, self._tokenizer = tokenizer, Tokenizer.from_str(tokenizer)
        self._ids = {name: self._tokenizer.token_to_id(token) for name, token in special.items()}
        unknown = [special[name] for name, index in self._ids.items() if index is None]
        if unknown:
            raise ConfigError(f"the tokenizer does not know the special tokens {', '.join(unknown)}")
        self._special, self._prompt, self.n_cameras = dict(special), prompt, n_cameras
        self.picture_size = (int(picture_size[0]), int(picture_size[1]))
        self.width, self.max_words = int(model.config.get_text_config().hidden_size), max_words
        self.model = model.to(_DTYPES[dtype])
        if freeze_vision:
            for parameter in self.vision().parameters():
                parameter.requires_grad_(False)
        if lora_rank:
            self._adapt(lora_rank)
        if gradient_checkpointing:
            self.model.activation_checkpointing_enable()

    @abstractmethod
    def vision(self) -> torch.nn.Module:
        """The vision tower."""

    @abstractmethod
    def picture_tokens(self) -> int:
        """Placeholders that one picture takes in the sequence."""

    @abstractmethod
    def picture_inputs(self, pictures: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """The model's inputs for pictures `(B, C, H, W, 3)` uint8 and token ids `(B, L)`, besides ids and mask."""

    def forward(
        self, pictures: Tensor, instructions: Sequence[str], reasoning: Sequence[str] | None = None
    ) -> Understanding:
        """See `Backbone.forward`."""
        self._check(pictures)
        prompts = self._prompts(instructions)
        answers = [[] for _ in prompts] if reasoning is None else [self._answer(text) for text in reasoning]
        longest = max(len(p) for p in prompts)
        tail = max(len(a) for a in answers)
        rows = [
            [self._ids["pad"]] * (longest - len(p)) + p + a + [self._ids["pad"]] * (tail - len(a))
            for p, a in zip(prompts, answers, strict=True)
        ]
        ids = torch.tensor(rows, device=pictures.device)
        lengths = torch.tensor([[len(p), len(a)] for p, a in zip(prompts, answers, strict=True)], device=ids.device)
        place = torch.arange(longest + tail, device=ids.device)
        asked = (place >= longest - lengths[:, :1]) & (place < longest)
        said = (place >= longest) & (place < longest + lengths[:, 1:])
        out = self.model(
            input_ids=ids,
            attention_mask=(asked | said).long(),
            output_hidden_states=True,
            use_cache=False,
            **self.picture_inputs(pictures, ids),
        )
        hidden = out.hidden_states[-1].float()
        prompt = _pooled(hidden, asked)
        if reasoning is None:
            return Understanding(prompt)
        logits, wanted = out.logits[:, longest - 1 : -1].float(), ids[:, longest:]
        real = said[:, longest:]
        loss = F.cross_entropy(logits[real], wanted[real])
        correct = (logits.argmax(-1) == wanted)[real].float().mean()
        return Understanding(prompt, _pooled(hidden, said), loss, correct)

    @torch.no_grad()
    def speak(self, pictures: Tensor, instructions: Sequence[str], *, max_tokens: int = 32) -> list[str]:
        """See `Backbone.speak`."""
        self._check(pictures)
        prompts = self._prompts(instructions)
        longest = max(len(p) for p in prompts)
        rows = [[self._ids["pad"]] * (longest - len(p)) + p for p in prompts]
        ids = torch.tensor(rows, device=pictures.device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=ids.device)
        out = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=min(max_tokens, self.max_words),
            do_sample=False,
            eos_token_id=self._ids["end"],
            pad_token_id=self._ids["pad"],
            **self.picture_inputs(pictures, ids),
        )
        return [self._words(row) for row in out[:, longest:].tolist()]

    def vocabulary(self) -> str:
        """See `Backbone.vocabulary`."""
        return self._text

    def _check(self, pictures: Tensor) -> None:
        wanted = (self.n_cameras, *self.picture_size, 3)
        if tuple(pictures.shape[1:]) != wanted:
            raise ConfigError(f"pictures of {tuple(pictures.shape)}; this backbone takes (B, {str(wanted)[1:]}")

    def _prompts(self, instructions: Sequence[str]) -> list[list[int]]:
        one = self._special.get("before", "") + self._special["picture"] * self.picture_tokens()
        one += self._special.get("after", "")
        texts = [self._prompt.format(pictures=one * self.n_cameras, instruction=text) for text in instructions]
        return [self._tokenizer.encode(text, add_special_tokens=False).ids for text in texts]

    def _answer(self, text: str) -> list[int]:
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [*ids[: self.max_words - 1], self._ids["end"]]

    def _words(self, ids: Sequence[int]) -> str:
        kept = []
        for index in ids:
            if index in (self._ids["end"], self._ids["pad"]):
                break
            kept.append(index)
        return self._tokenizer.decode(kept).strip()

    def _adapt(self, rank: int) -> None:
        """LoRA (Hu et al. 2021, arXiv:2106.09685) on the attention's projections; everything else is frozen."""
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError:
            raise ConfigError(f"lora_rank={rank} needs the package peft: pip install peft") from None
        names = ["q_proj", "k_proj", "v_proj", "o_proj"]
        config = LoraConfig(r=rank, lora_alpha=4 * rank, lora_dropout=0.05, target_modules=names)
        self.model = inject_adapter_in_model(config, self.model)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_("lora_" in name)


def local_checkpoint(folder: str) -> Path:
    """The folder of a checkpoint that lies on this machine; nothing is ever fetched.

    Raises:
        ConfigError: it lacks `config.json` or `tokenizer.json`.
    """
    path = Path(folder).expanduser()
    missing = [name for name in ("config.json", "tokenizer.json") if not (path / name).is_file()]
    if missing:
        raise ConfigError(f"checkpoint={folder} lacks {', '.join(missing)}: name the folder of a downloaded model")
    return path


def with_special(vocabulary: str, special: Mapping[str, str]) -> str:
    """A trained vocabulary that knows some more special tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(vocabulary)
    tokenizer.add_special_tokens([token for token in special.values() if tokenizer.token_to_id(token) is None])
    return tokenizer.to_str()


def _pooled(hidden: Tensor, span: Tensor) -> Tensor:
    weight = span[..., None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1.0)
