"""Properties that every backbone has, pretrained shape or not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from small_vla import BACKBONES

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.errors import ConfigError
from embodied.policies import vocabulary
from embodied.policies.backbones.qwen2_vl import Qwen2VLBackbone, patches

TOLD = ["Open the drawer by its handle.", "Shut it."]
SAID = ["First I reach for the handle.", "Done."]
VOCABULARY = vocabulary.train([*TOLD, *SAID], 300)


def make(name: str, seed: int = 0, **changes):
    torch.manual_seed(seed)
    return build({**BACKBONES[name], **changes}, vocabulary=VOCABULARY, n_cameras=2)


def pictures(n: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (n, 2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=list(BACKBONES))
def name(request):
    return request.param


def test_the_prompt_never_depends_on_the_reasoning(name):
    backbone = make(name).eval()
    alone, with_words = backbone(pictures(), TOLD), backbone(pictures(), TOLD, SAID)
    assert alone.prompt.shape == (2, backbone.width)
    assert torch.allclose(alone.prompt, with_words.prompt, atol=1e-5)
    assert alone.reasoning is None
    assert alone.reasoning_loss is None
    other = backbone(pictures(), TOLD, ["I wait.", "I wait."])
    assert not torch.allclose(other.reasoning, with_words.reasoning, atol=1e-3)


def test_a_sample_does_not_depend_on_its_neighbours(name):
    backbone = make(name).eval()
    both, one = backbone(pictures(), TOLD, SAID), backbone(pictures()[1:], TOLD[1:], SAID[1:])
    assert torch.allclose(both.prompt[1], one.prompt[0], atol=1e-5)
    assert torch.allclose(both.reasoning[1], one.reasoning[0], atol=1e-5)


def test_pictures_and_words_are_both_seen(name):
    backbone = make(name).eval()
    base = backbone(pictures(), TOLD).prompt
    assert not torch.allclose(base, backbone(pictures(), TOLD[::-1]).prompt, atol=1e-4)
    darker = pictures()
    darker[:, 1] //= 4  # the second camera alone
    assert not torch.allclose(base, backbone(darker, TOLD).prompt, atol=1e-4)


def test_it_learns_to_say_what_it_was_shown_and_says_it_again_after_reloading(name):
    backbone = make(name)
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=3e-3)
    for _ in range(150):
        loss = backbone(pictures(), TOLD, SAID).reasoning_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    backbone.eval()
    assert backbone(pictures(), TOLD, SAID).correct == 1.0
    assert backbone.speak(pictures(), TOLD) == SAID
    again = build(BACKBONES[name], vocabulary=VOCABULARY, n_cameras=2)
    again.load_state_dict(backbone.state_dict())
    again.eval()
    assert torch.equal(again(pictures(), TOLD, SAID).prompt, backbone(pictures(), TOLD, SAID).prompt)


def test_pictures_of_another_size_are_refused(name):
    with pytest.raises(ConfigError, match="this backbone takes"):
        make(name)(pictures()[:, :1], TOLD)
    with pytest.raises(ConfigError, match="picture_size"):
        make(name, picture_size=[18, 18])


def test_every_shipped_backbone_is_built():
    for path in sorted((conf_dir() / "backbone").glob("*.yaml")):
        backbone = build(yaml.safe_load(path.read_text()), vocabulary=VOCABULARY, n_cameras=1)
        size = backbone.picture_size
        found = backbone(torch.zeros(1, 1, *size, 3, dtype=torch.uint8), TOLD[:1], SAID[:1])
        assert torch.isfinite(found.reasoning_loss), path


@pytest.mark.parametrize("settings", [{"lora_rank": 2}, {"gradient_checkpointing": True}, {"dtype": "bfloat16"}])
@pytest.mark.parametrize("name", ["qwen2_vl", "smolvlm"])
def test_adapters_checkpointing_and_half_precision_train(name, settings):
    if "lora_rank" in settings:
        pytest.importorskip("peft")
    backbone = make(name, settings=settings).train()
    backbone(pictures(), TOLD, SAID).reasoning_loss.backward()
    touched = {n for n, p in backbone.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert touched
    if "lora_rank" in settings:
        assert all("lora_" in n for n in touched)
        assert sum(p.numel() for p in backbone.parameters() if p.requires_grad) < 0.1 * sum(
            p.numel() for p in backbone.parameters()
        )


@pytest.mark.parametrize("name", ["qwen2_vl", "smolvlm"])
def test_a_frozen_vision_tower_stays(name):
    backbone = make(name, settings={"freeze_vision": True}).train()
    backbone(pictures(), TOLD, SAID).reasoning_loss.backward()
    assert all(p.grad is None for p in backbone.vision().parameters())


def test_patches_are_those_of_the_librarys_own_processor():
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    processor = Qwen2VLImageProcessorPil(do_resize=False, patch_size=8, merge_size=2, temporal_patch_size=2)
    drawn = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    theirs = processor(images=list(drawn), return_tensors="pt")["pixel_values"]
    assert torch.allclose(patches(torch.from_numpy(drawn), 8, 2), theirs, atol=1e-6)


def test_positions_need_to_know_which_tokens_are_pictures():
    """Left out, the positions would silently be one-dimensional."""
    backbone = make("qwen2_vl")
    inputs = backbone.picture_inputs

    def without(*arguments):
        return {k: v for k, v in inputs(*arguments).items() if k != "mm_token_type_ids"}

    backbone.picture_inputs = without
    with pytest.raises(ValueError, match="mm_token_type_ids"):
        backbone(pictures(), TOLD)


def test_a_checkpoint_folder_is_read_and_a_wrong_one_named(tmp_path):
    from tokenizers import Tokenizer

    with pytest.raises(ConfigError, match=r"lacks config.json, tokenizer.json"):
        make("qwen2_vl", checkpoint=str(tmp_path))
    small = make("qwen2_vl")
    small.model.save_pretrained(tmp_path / "m")
    tokenizer = Tokenizer.from_str(small.vocabulary())
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_end|>", "<|im_start|>"])
    (tmp_path / "m" / "tokenizer.json").write_text(tokenizer.to_str())
    loaded = make("qwen2_vl", checkpoint=str(tmp_path / "m"))
    theirs = small.model.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in loaded.model.state_dict().items())
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["model_type"] == "qwen2_vl"
    random = make("qwen2_vl", seed=3, checkpoint=str(tmp_path / "m"), random_weights=True)
    assert isinstance(random, Qwen2VLBackbone)
    assert not all(torch.equal(v, theirs[k]) for k, v in random.model.state_dict().items())
