"""Qwen2-VL (Wang et al. 2024, arXiv:2409.12191), the backbone of DiffusionVLA: a local checkpoint, or a small one from
nothing.

Pictures are cut into patches here: the library's own processor needs torchvision. A patch is `patch_size` pixels wide;
`merge_size`^2 neighbouring patches become one token; the temporal patch of 2 takes the still picture twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from embodied.core.errors import ConfigError
from embodied.policies.backbones.vlm import VLMBackbone, local_checkpoint, with_special
from embodied.policies.vocabulary import END, PAD

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
_TEMPORAL = 2
_SMALL = {
    "pad": PAD,
    "end": END,
    "before": "<|vision_start|>",
    "picture": "<|image_pad|>",
    "after": "<|vision_end|>",
}
_CHECKPOINT = {**_SMALL, "pad": "<|endoftext|>", "end": "<|im_end|>"}
_CHAT = "<|im_start|>user\n{pictures}{instruction}<|im_end|>\n<|im_start|>assistant\n"


class Qwen2VLBackbone(VLMBackbone):
    """Qwen2-VL.

    Args:
        vocabulary: of the dataset, for a small model; a checkpoint brings its own.
        n_cameras: C.
        picture_size: (H, W) [pixels], multiples of `patch_size * merge_size` (28 in the published models).
        checkpoint: folder of a downloaded model; None builds a small one from the sizes below.
        width: of the language model.
        layers: of the language model.
        heads: of its attention; a head has `width / heads` components, a multiple of 4.
        kv_heads: shared keys and values.
        vision_width: of the vision tower.
        vision_layers: of the vision tower.
        patch_size: [pixels].
        merge_size: patches per token and side.
        random_weights: of a checkpoint's shape, read only its `config.json`.
        settings: `dtype`, `lora_rank`, `freeze_vision`, `gradient_checkpointing`, `max_words` as in `VLMBackbone`.
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
        merge_size: int = 2,
        random_weights: bool = False,
        settings: dict[str, Any] | None = None,
    ) -> None:
        from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

        special, prompt = (_SMALL, "{pictures}{instruction}\n") if checkpoint is None else (_CHECKPOINT, _CHAT)
        if checkpoint is None:
            text = with_special(vocabulary, special)
            config = _small_config(
                text, width, layers, heads, kv_heads, vision_width, vision_layers, patch_size, merge_size
            )
            model = Qwen2VLForConditionalGeneration(config)
        else:
            folder = local_checkpoint(checkpoint)
            text = (folder / "tokenizer.json").read_text(encoding="utf-8")
            if random_weights:
                model = Qwen2VLForConditionalGeneration(Qwen2VLConfig.from_pretrained(folder))
            else:
                model = Qwen2VLForConditionalGeneration.from_pretrained(folder, local_files_only=True)
        vision = model.config.vision_config
        self._patch, self._merge = int(vision.patch_size), int(vision.spatial_merge_size)
        step = self._patch * self._merge
        if picture_size[0] % step or picture_size[1] % step:
            raise ConfigError(f"picture_size={tuple(picture_size)} needs multiples of patch x merge = {step}")
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
        return self.model.model.visual

    def picture_tokens(self) -> int:
        """See `VLMBackbone.picture_tokens`."""
        step = self._patch * self._merge
        return (self.picture_size[0] // step) * (self.picture_size[1] // step)

    def picture_inputs(self, pictures: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """Patches, the grid of each picture, and which tokens are pictures: without these last the positions would be
        one-dimensional.
        """
        grid = [1, self.picture_size[0] // self._patch, self.picture_size[1] // self._patch]
        count = pictures.shape[0] * pictures.shape[1]
        return {
            "pixel_values": patches(pictures.flatten(0, 1), self._patch, self._merge).to(self.model.dtype),
            "image_grid_thw": torch.tensor([grid] * count, device=ids.device),
            "mm_token_type_ids": (ids == self._ids["picture"]).int(),
        }


def patches(pictures: Tensor, patch: int, merge: int) -> Tensor:
    """`(P, 3 * 2 * patch^2)` floats of pictures `(n, H, W, 3)` uint8: merged neighbours follow each other."""
    mean, std = (torch.tensor(v, device=pictures.device) for v in (_MEAN, _STD))
    x = (pictures.float() / 255.0 - mean) / std
    n, height, width, _ = x.shape
    x = x.reshape(n, height // (merge * patch), merge, patch, width // (merge * patch), merge, patch, 3)
    x = x.permute(0, 1, 4, 2, 5, 7, 3, 6)  # n, rows, columns, merged rows, merged columns, channel, y, x
    x = x.reshape(-1, 3, 1, patch, patch).expand(-1, 3, _TEMPORAL, patch, patch)
    return x.reshape(x.shape[0], -1)


def _small_config(
    tokenizer: str,
    width: int,
    layers: int,
    heads: int,
    kv_heads: int,
    vision_width: int,
    vision_layers: int,
    patch_size: int,
    merge_size: int,
) -> Any:
    from tokenizers import Tokenizer
    from transformers import Qwen2VLConfig

    known = Tokenizer.from_str(tokenizer)
    half = width // heads // 2
    if width % heads or half % 2:
        raise ConfigError(f"width={width} over heads={heads} must be a multiple of 4")
    low = max(1, half // 4)
    rope = {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [low, (half - low) // 2, half - low - (half - low) // 2],
    }
    ids = {name: known.token_to_id(token) for name, token in _SMALL.items()}
    return Qwen2VLConfig(
        text_config={
            "vocab_size": known.get_vocab_size(),
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "max_position_embeddings": 1024,
            "rope_parameters": rope,
            "bos_token_id": None,
            "eos_token_id": ids["end"],
            "pad_token_id": ids["pad"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": vision_layers,
            "embed_dim": vision_width,
            "hidden_size": width,
            "num_heads": 4,
            "mlp_ratio": 2,
            "patch_size": patch_size,
            "spatial_merge_size": merge_size,
            "temporal_patch_size": _TEMPORAL,
        },
        image_token_id=ids["picture"],
        vision_start_token_id=ids["before"],
        vision_end_token_id=ids["after"],
        tie_word_embeddings=True,
    )
