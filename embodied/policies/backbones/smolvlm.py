"""SmolVLM (Marafioti et al. 2025, arXiv:2504.05299): a local checkpoint, or a small one from nothing.

Deviation: a picture is one tile; the published processor also cuts large pictures into several.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from embodied.core.errors import ConfigError
from embodied.policies.backbones.base import normalized
from embodied.policies.backbones.vlm import VLMBackbone, local_checkpoint, with_special
from embodied.policies.vocabulary import END, PAD

_SMALL = {"pad": PAD, "end": END, "picture": "<image>"}
_CHECKPOINT = {"pad": "<|im_end|>", "end": "<end_of_utterance>", "picture": "<image>"}
_CHAT = "<|im_start|>User:{pictures}{instruction}<end_of_utterance>\nAssistant:"


class SmolVLMBackbone(VLMBackbone):
    """SmolVLM.

    Args:
        vocabulary: of the dataset, for a small model; a checkpoint brings its own.
        n_cameras: C.
        picture_size: (H, W) [pixels], square; a checkpoint's own size.
        checkpoint: folder of a downloaded model; None builds a small one from the sizes below.
        width: of the language model.
        layers: of the language model.
        heads: of its attention.
        kv_heads: shared keys and values.
        vision_width: of the vision tower.
        vision_layers: of the vision tower.
        patch_size: [pixels].
        scale_factor: patches per token and side.
        settings: as in `VLMBackbone`.
    """

    def __init__(
        self,
        *,
        vocabulary: str,
        n_cameras: int = 1,
        picture_size: Sequence[int] = (64, 64),
        checkpoint: str | None = None,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        kv_heads: int = 2,
        vision_width: int = 64,
        vision_layers: int = 2,
        patch_size: int = 8,
        scale_factor: int = 2,
        settings: dict[str, Any] | None = None,
    ) -> None:
        from transformers import SmolVLMForConditionalGeneration

        special, prompt = (_SMALL, "{pictures}{instruction}\n") if checkpoint is None else (_CHECKPOINT, _CHAT)
        if picture_size[0] != picture_size[1] or picture_size[0] % (patch_size * scale_factor):
            raise ConfigError(
                f"picture_size={tuple(picture_size)} must be square, of a multiple of {patch_size * scale_factor}"
            )
        if checkpoint is None:
            text = with_special(vocabulary, special)
            sizes = (width, layers, heads, kv_heads, vision_width, vision_layers, patch_size, scale_factor)
            model = SmolVLMForConditionalGeneration(_small_config(text, int(picture_size[0]), *sizes))
        else:
            folder = local_checkpoint(checkpoint)
            text = (folder / "tokenizer.json").read_text(encoding="utf-8")
            model = SmolVLMForConditionalGeneration.from_pretrained(folder, local_files_only=True)
        vision = model.config.vision_config
        self._tokens = (int(picture_size[0]) // int(vision.patch_size) // int(model.config.scale_factor)) ** 2
        super().__init__(
            model=model,
            tokenizer=text,
            special=special,
            prompt=prompt,
            n_cameras=n_cameras,
            picture_size=picture_size,
            **(settings or {}),
        )

    def vision(self) -> torch.nn.Module:
        """See `VLMBackbone.vision`."""
        return self.model.model.vision_model

    def picture_tokens(self) -> int:
        """See `VLMBackbone.picture_tokens`."""
        return self._tokens

    def picture_inputs(self, pictures: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """Pictures in [-1, 1], `(B, C, 3, H, W)`."""
        return {"pixel_values": normalized(pictures).to(self.model.dtype)}


def _small_config(
    tokenizer: str,
    side: int,
    width: int,
    layers: int,
    heads: int,
    kv_heads: int,
    vision_width: int,
    vision_layers: int,
    patch_size: int,
    scale_factor: int,
) -> Any:
    from tokenizers import Tokenizer
    from transformers import SmolVLMConfig

    known = Tokenizer.from_str(tokenizer)
    return SmolVLMConfig(
        text_config={
            "model_type": "llama",
            "vocab_size": known.get_vocab_size(),
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "max_position_embeddings": 1024,
            "bos_token_id": None,
            "eos_token_id": known.token_to_id(END),
            "pad_token_id": known.token_to_id(PAD),
            "tie_word_embeddings": True,
        },
        vision_config={
            "hidden_size": vision_width,
            "intermediate_size": 2 * vision_width,
            "num_hidden_layers": vision_layers,
            "num_attention_heads": 4,
            "image_size": side,
            "patch_size": patch_size,
        },
        image_token_id=known.token_to_id("<image>"),
        scale_factor=scale_factor,
        tie_word_embeddings=True,
        pad_token_id=known.token_to_id(PAD),
    )
