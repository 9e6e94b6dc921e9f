"""The HTTP chat model against a server that misbehaves: faults end soon, clearly, without the key."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from llm_server import ANSWER, llm_server

from embodied.core.chat import ChatModel, Message, Usage
from embodied.core.errors import ChatModelError
from embodied.llm.budget import Budget
from embodied.llm.openai import ChatServerError, OpenAIChat
from embodied.llm.record import Recorder, read_calls
from embodied.llm.replay import ReplayChat

KEY = "canary-7f3e9a5b1c2d4e6f8a9b0c1d"
ASK = [Message("system", "You write rewards."), Message("user", "Open the drawer.")]
SMALL = {"deadline_s": 5.0, "idle_timeout_s": 0.15, "max_attempts": 2, "max_bytes": 200_000}


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("LLM_TEST_KEY", KEY)


def client(server, **changes) -> OpenAIChat:
    options = {"model": "asked-model", "api_key_env": "LLM_TEST_KEY", **SMALL, **changes}
    return OpenAIChat(base_url=server.base_url, **options)


def failure(behaviour: str, **changes) -> tuple[ChatServerError, int]:
    """Runs one call that must fail; returns the error and how many requests the server saw."""
    with llm_server(behaviour) as server:
        with pytest.raises(ChatServerError) as caught:
            client(server, **changes).complete(ASK)
        assert caught.value.attempts == len(server.seen)
        assert KEY not in str(caught.value)
        return caught.value, len(server.seen)


# --- answers ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_comes_back_verbatim(stream):
    with llm_server("answer") as server:
        chat = client(server, stream=stream)
        assert isinstance(chat, ChatModel)
        [answer] = chat.complete(ASK, temperature=0.5, max_tokens=99)
    assert answer.text == ANSWER
    assert answer.model == "served-model"
    assert answer.finish_reason == "stop"
    assert answer.usage == Usage(11, 7)
    assert answer.provenance["attempts"] == 1
    [seen] = server.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["Authorization"] == f"Bearer {KEY}"
    assert seen.body["messages"][1] == {"role": "user", "content": "Open the drawer."}
    assert (seen.body["model"], seen.body["temperature"], seen.body["max_tokens"]) == ("asked-model", 0.5, 99)


@pytest.mark.parametrize("stream", [True, False])
def test_several_answers_cost_what_the_server_counted(stream):
    with llm_server("answer") as server:
        answers = client(server, stream=stream).complete(ASK, n=3)
    assert [a.text for a in answers] == [ANSWER] * 3
    assert sum(a.usage.prompt_tokens for a in answers) == 11


def test_a_server_that_ignores_n_is_asked_again():
    with llm_server("ignores_n") as server:
        assert len(client(server).complete(ASK, n=3)) == 3
    assert [s.body.get("n", 1) for s in server.seen] == [3, 2, 1]


def test_extra_fields_are_sent_and_nulls_remove_fields():
    with llm_server("answer") as server:
        extra = {"temperature": None, "reasoning_effort": "low"}
        client(server, extra_body=extra, max_tokens_field="max_completion_tokens").complete(ASK)
    body = server.seen[0].body
    assert "temperature" not in body
    assert "max_tokens" not in body
    assert body["reasoning_effort"] == "low"
    assert body["max_completion_tokens"] == 4096


def test_no_key_is_sent_where_none_is_named():
    with llm_server("answer") as server:
        client(server, api_key_env=None).complete(ASK)
    assert "Authorization" not in server.seen[0].headers


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("behaviour", "reason", "part"),
    [
        ("refuse", "content_filter", "I cannot help"),
        ("filtered", "content_filter", ""),
        ("truncated", "length", "acti"),
        ("wrong_language", "stop", "```json"),
    ],
)
def test_unhelpful_answers_are_surfaced(behaviour, reason, part, stream):
    if behaviour == "filtered" and stream:
        part = ""
    with llm_server(behaviour) as server:
        [answer] = client(server, stream=stream).complete(ASK)
    assert answer.finish_reason == reason
    assert part in answer.text
    assert len(server.seen) == 1


def test_a_connection_left_open_after_done_is_no_delay():
    with llm_server("done_but_open") as server:
        assert client(server, idle_timeout_s=5.0).complete(ASK)[0].text == ANSWER


def test_works_under_a_running_event_loop():
    async def inside() -> str:
        return client(server).complete(ASK)[0].text

    with llm_server("answer") as server:
        assert asyncio.run(inside()) == ANSWER


# --- retries ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["429", "500", "503", "close", "close_in_stream", "hang_in_stream", "hang"])
def test_transient_faults_are_retried(fault):
    with llm_server(fault, "answer") as server:
        [answer] = client(server, idle_timeout_s=1.5).complete(ASK)
    assert answer.text == ANSWER
    assert answer.provenance["attempts"] == 2
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("fault", "text"), [("429", "slow down"), ("500", "boom"), ("503", "upstream is away")]
)
def test_retries_end(fault, text):
    error, requests = failure(fault)
    assert requests == 2
    assert error.status == int(fault)
    assert text in str(error)


@pytest.mark.parametrize(
    "retry_after", ["1e9", "1000000000", "garbage", "-5", "nan", "inf", "Wed, 21 Oct 2093 07:28:00 GMT"]
)
def test_an_absurd_retry_after_is_capped_or_ignored(retry_after):
    with llm_server("429", "answer") as server:
        server.retry_after = retry_after
        assert client(server, retry_after_cap_s=0.2).complete(ASK)[0].text == ANSWER


def test_a_sane_retry_after_is_honoured():
    with llm_server("429", "answer") as server:
        server.retry_after = "1"
        began = time.monotonic()
        client(server).complete(ASK)
        assert time.monotonic() - began >= 1.0


def test_a_pause_beyond_the_deadline_ends_at_once():
    with llm_server("429") as server:
        server.retry_after = "1e9"
        began = time.monotonic()
        with pytest.raises(ChatServerError, match="429"):
            client(server, deadline_s=20.0).complete(ASK)
        assert time.monotonic() - began < 10.0
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        ("400", 400, "bad field"),
        ("400_context", 400, "shorten"),
        ("401", 401, "LLM_TEST_KEY"),
        ("404", 404, "asked-model"),
        ("302", 302, "redirects"),
        ("429_quota", 429, "no credit"),
    ],
)
def test_permanent_faults_are_not_retried(fault, status, text):
    error, requests = failure(fault)
    assert requests == 1
    assert error.status == status
    assert text in str(error)
    assert "\x1b" not in str(error)
    assert error.cut_short == 0


def test_nobody_listens():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening: nobody else can take the port
        chat = OpenAIChat(
            base_url=f"http://127.0.0.1:{held.getsockname()[1]}/v1", model="m", api_key_env=None, **SMALL
        )
        with pytest.raises(ChatServerError, match="llm=manual") as caught:
            chat.complete(ASK)
    assert caught.value.kind == "unreachable"
    assert caught.value.attempts == 2
    assert caught.value.cut_short == 0


def test_no_such_host():
    chat = OpenAIChat(base_url="http://no-such-host.invalid/v1", model="m", api_key_env=None, **SMALL)
    with pytest.raises(ChatServerError) as caught:
        chat.complete(ASK)
    assert caught.value.kind in ("unreachable", "deadline")


def test_tls_against_a_plain_server():
    with llm_server("answer") as server:
        server.base_url = server.base_url.replace("http://", "https://")
        with pytest.raises(ChatServerError) as caught:
            client(server).complete(ASK)
    assert caught.value.kind == "unreachable"


# --- bounds -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["hang", "hang_in_stream"])
def test_silence_ends_the_attempt(fault):
    error, requests = failure(fault)
    assert requests == 2
    assert error.kind == "silent"
    assert "llm.idle_timeout_s" in str(error)


@pytest.mark.parametrize("fault", ["hang", "hang_in_stream", "drip", "drip_headers"])
def test_the_deadline_covers_everything(fault):
    began = time.monotonic()
    error, requests = failure(fault, deadline_s=0.4, idle_timeout_s=30.0)
    assert time.monotonic() - began < 5.0
    assert requests == 1
    assert error.kind == "deadline"
    assert error.bytes_read < 1000
    assert "llm.deadline_s" in str(error)


@pytest.mark.parametrize("fault", ["fifty_megabytes", "fifty_megabytes_one_line"])
def test_fifty_megabytes_are_not_read(fault):
    tracemalloc.start()
    error, requests = failure(fault, max_bytes=1_000_000, idle_timeout_s=5.0, deadline_s=20.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert requests == 1
    assert error.kind == "too_long"
    assert 1_000_000 < error.bytes_read < 1_400_000
    assert peak < 12_000_000
    assert "llm.max_bytes" in str(error)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("invalid_utf8", "not UTF-8"),
        ("invalid_json", "not JSON"),
        ("invalid_sse", "not JSON"),
        ("html", "llm.base_url"),
        ("error_event", "the model crashed"),
    ],
)
def test_malformed_answers_end_at_once(fault, text):
    error, requests = failure(fault)
    assert requests == 1
    assert error.kind == "malformed"
    assert text in str(error)


def test_no_threads_are_left_behind():
    before = threading.active_count()
    for fault in ("answer", "hang", "drip"):
        with llm_server(fault) as server, contextlib.suppress(ChatServerError):
            client(server, deadline_s=0.3).complete(ASK)
    end = time.monotonic() + 5.0
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.02)
    assert threading.active_count() <= before


# --- the key ----------------------------------------------------------------------------------------------
def test_a_missing_key_names_the_variable_and_the_ways_out(monkeypatch):
    monkeypatch.delenv("LLM_TEST_KEY")
    with llm_server("answer") as server, pytest.raises(ChatServerError) as caught:
        client(server).complete(ASK)
    for word in ("LLM_TEST_KEY", "llm=manual", "llm=replay", "export"):
        assert word in str(caught.value)
    assert server.seen == []


def test_a_key_that_is_no_key_is_not_shown(monkeypatch):
    monkeypatch.setenv("LLM_TEST_KEY", "first-line-secret\nsecond")
    with llm_server("answer") as server, pytest.raises(ChatServerError, match="LLM_TEST_KEY") as caught:
        client(server).complete(ASK)
    assert "first-line-secret" not in str(caught.value)


def test_a_prompt_with_the_key_is_not_sent():
    with llm_server("answer") as server, pytest.raises(ChatServerError, match="was not sent"):
        client(server).complete([Message("user", f"use {KEY} please")])
    assert server.seen == []


def test_an_echoed_key_reaches_neither_answer_nor_log(caplog):
    caplog.set_level(logging.DEBUG)
    with llm_server("echo_key_in_answer", "401") as server:
        [answer] = client(server).complete(ASK)
        with pytest.raises(ChatServerError):
            client(server).complete(ASK)
    assert answer.text == "your header was Bearer [redacted]"
    assert "httpcore" in {r.name.split(".")[0] for r in caplog.records}
    assert KEY not in caplog.text


CANARY_RUN = """
import logging, pickle, sys, traceback
sys.path.insert(0, sys.argv[1])
from llm_server import llm_server
from embodied.core.chat import Message
from embodied.llm.budget import Budget
from embodied.llm.openai import OpenAIChat
from embodied.llm.record import Recorder
logging.basicConfig(level=logging.DEBUG, filename=sys.argv[2] + "/log.txt")
for fault in sys.argv[3:]:
    with llm_server(fault) as server:
        chat = OpenAIChat(base_url=server.base_url, model="m", api_key_env="LLM_TEST_KEY", deadline_s=3.0,
                          idle_timeout_s=0.6, max_attempts=2, max_bytes=50_000)
        model = Recorder(Budget(chat, max_calls=100), sys.argv[2])
        try:
            print(model.complete([Message("user", "hello " + fault)]))
        except Exception:
            class Locals(traceback.TracebackException): pass
            print("".join(Locals(*sys.exc_info(), capture_locals=True).format()))
        print(repr(chat), vars(chat), repr(model), vars(model), pickle.dumps(chat))
        assert server.seen
"""


def test_a_canary_key_is_nowhere(tmp_path):
    faults = ["answer", "echo_key_in_answer", "401", "400", "404", "500", "close", "drip"]
    faults += ["hang_in_stream", "invalid_json", "fifty_megabytes"]
    support = Path(__file__).parents[1] / "support"
    run = subprocess.run(
        [sys.executable, "-c", CANARY_RUN, str(support), str(tmp_path), *faults],
        env={**os.environ, "LLM_TEST_KEY": KEY},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()[-2000:]
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {p.name for p in files} == {"calls.jsonl", "log.txt"}
    for where, data in [
        ("output", run.stdout),
        ("errors", run.stderr),
        *((p.name, p.read_bytes()) for p in files),
    ]:
        assert KEY.encode() not in data, where
        assert b"bearer canary" not in data.lower(), where
    assert (tmp_path / "calls.jsonl").read_bytes().count(b"\n") == len(faults)
    assert (tmp_path / "calls.jsonl").stat().st_mode & 0o077 == 0


# --- together ---------------------------------------------------------------------------------------------
def test_recorded_and_replayed(tmp_path):
    with llm_server("answer", "500") as server:
        chat = Recorder(Budget(client(server, max_attempts=1), max_calls=5), tmp_path, prompt_version="t2r-1")
        live = chat.complete(ASK, n=2)
        with pytest.raises(ChatModelError, match="boom"):
            chat.complete([Message("user", "something else")])
    replayed = ReplayChat(folder=tmp_path).complete(ASK, n=2)
    assert [(a.text, a.model, a.usage, a.finish_reason) for a in replayed] == [
        (a.text, a.model, a.usage, a.finish_reason) for a in live
    ]
    [call] = read_calls(tmp_path / "calls.jsonl")
    assert call.row["prompt_version"] == "t2r-1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*", call.row["date"])
    assert call.row["latency_s"] > 0


def test_broken_off_attempts_count_against_the_budget():
    with llm_server("hang_in_stream", "answer") as server:
        budget = Budget(client(server), max_tokens=10_000)
        budget.complete(ASK, max_tokens=100)
    assert budget.ledger.completion_tokens == 7
    assert budget.ledger.unreported_completion_tokens == 100
