"""Constructors, configuration files, imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from embodied.core.assets import conf_dir
from embodied.core.build import build, check_keys, resolve
from embodied.core.chat import ChatModel
from embodied.core.errors import ChatModelError, ConfigError, UnknownNameError
from embodied.llm import redact
from embodied.llm.openai import OpenAIChat

CONFIGS = sorted((conf_dir() / "llm").glob("*.yaml"))
GOOD = {"base_url": "http://127.0.0.1:8000/v1", "model": "m"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_fits_its_constructor(path: Path, tmp_path):
    config = yaml.safe_load(path.read_text())
    factory = resolve(config["_target_"])
    check_keys(factory, config["_target_"], [k for k in config if k != "_target_"])
    (tmp_path / "config.json").write_text("{}")
    wanted = {"model": "m", "path": str(tmp_path)}
    config |= {k: wanted[k] for k, v in config.items() if v == "???"}
    assert isinstance(build(config), ChatModel)


def test_a_misspelt_key_is_answered_with_the_real_one():
    with pytest.raises(UnknownNameError, match="Did you mean 'deadline_s'"):
        build({"_target_": "embodied.llm.openai.OpenAIChat", **GOOD, "deadline": 3})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("base_url", "127.0.0.1:8000"),
        ("base_url", "ftp://x/v1"),
        ("base_url", "http://"),
        ("base_url", "http://[oops"),
        ("base_url", "http://x:99999/v1"),
        ("model", ""),
        ("deadline_s", 0),
        ("deadline_s", float("nan")),
        ("deadline_s", True),
        ("max_attempts", 0),
        ("max_attempts", 1.5),
        ("max_bytes", -1),
        ("idle_timeout_s", float("inf")),
        ("stream", "yes"),
        ("max_tokens_field", "tokens"),
        ("extra_body", [1]),
        ("extra_body", {"messages": []}),
        ("extra_body", {"x": object()}),
    ],
)
def test_wrong_values_are_named(key, value):
    with pytest.raises(ConfigError, match=key.split("_")[0]):
        OpenAIChat(**{**GOOD, key: value})


@pytest.mark.parametrize(
    "change",
    [
        {"api_key_env": "sk-abcdefghijklmnop"},
        {"api_key_env": "0123456789abcdef0123456789abcdef"},
        {"base_url": "https://user:sk-abcdefghijklmnop@host/v1"},
        {"base_url": "https://host/v1?key=sk-abcdefghijklmnop"},
        {"extra_body": {"api_key": "sk-abcdefghijklmnop"}},
    ],
)
def test_a_key_in_the_configuration_is_refused_and_not_repeated(change):
    with pytest.raises(ConfigError) as caught:
        OpenAIChat(**{**GOOD, **change})
    for secret in ("sk-abc", "0123456789abcdef"):
        assert secret not in str(caught.value)


def test_a_key_over_an_open_network_is_warned_about(caplog):
    OpenAIChat(base_url="http://192.168.0.2/v1", model="m")
    assert "not encrypted" in caplog.text


@pytest.mark.parametrize(
    ("messages", "options"),
    [
        ([], {}),
        ([("robot", "hi")], {}),
        ([("user", 3)], {}),
        ([("user", "hi")], {"n": 0}),
        ([("user", "hi")], {"max_tokens": True}),
        ([("user", "hi")], {"temperature": float("nan")}),
    ],
)
def test_wrong_requests_are_refused_before_sending(messages, options):
    from embodied.core.chat import Message

    with pytest.raises(ChatModelError):
        OpenAIChat(**GOOD, api_key_env=None).complete([Message(*m) for m in messages], **options)


def test_the_package_imports_no_heavy_library():
    code = (
        "import sys\n"
        "from embodied.llm import openai, local, manual, replay, record, budget, embed, extract, redact\n"
        "print([m for m in ('torch', 'transformers', 'httpx', 'openai', 'hydra') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"


def test_redaction_of_values_and_patterns(monkeypatch):
    monkeypatch.setenv("LLM_UNIT_KEY", 'odd"value-123')
    redact.register("LLM_UNIT_KEY")
    assert redact.exact('x odd"value-123 y') == "x [redacted] y"
    assert redact.exact('{"k": "odd\\"value-123"}') == '{"k": "[redacted]"}'
    assert redact.everything("key sk-abcdefghijklmnopqrst.") == "key [redacted]."
    assert redact.everything("Authorization: Bearer abc.def-ghi=") == "Authorization: Bearer [redacted]"
    assert redact.exact("sk-abcdefghijklmnopqrst") == "sk-abcdefghijklmnopqrst"
    monkeypatch.setenv("LLM_UNIT_KEY", "EMPTY")
    assert redact.exact("if the list is EMPTY") == "if the list is EMPTY"


def test_redaction_of_log_records(monkeypatch, caplog):
    import logging

    monkeypatch.setenv("LLM_UNIT_KEY", "canary-abcdefgh")
    redact.register("LLM_UNIT_KEY")
    logger = logging.getLogger("test_llm_redaction")
    logger.addFilter(redact.RedactFilter())
    try:
        raise ValueError("bad canary-abcdefgh")
    except ValueError:
        logger.exception("with %s", "canary-abcdefgh")
    assert "canary-abcdefgh" not in caplog.text
    assert "with [redacted]" in caplog.text


def test_errors_cross_a_process_boundary():
    import pickle

    from embodied.llm.extract import NoCodeError
    from embodied.llm.openai import ChatServerError

    server = pickle.loads(pickle.dumps(ChatServerError("text", "status", status=500, attempts=2)))
    assert (str(server), server.kind, server.status, server.attempts) == ("text", "status", 500, 2)
    code = pickle.loads(pickle.dumps(NoCodeError("prose", "text")))
    assert (str(code), code.kind) == ("text", "prose")


def test_harmless_fields_with_key_in_their_name_pass():
    assert OpenAIChat(**GOOD, extra_body={"prompt_cache_key": "t2r"}).extra_body == {
        "prompt_cache_key": "t2r"
    }
