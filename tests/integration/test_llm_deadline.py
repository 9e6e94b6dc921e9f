"""One deadline for one `complete`: requests, attempts and pauses share it, against a real server."""

from __future__ import annotations

import pytest
from llm_server import ANSWER, llm_server

from embodied.core.chat import Message
from embodied.llm import http
from embodied.llm.openai import ChatServerError, OpenAIChat

ASK = [Message("user", "Open the drawer.")]


@pytest.fixture
def deadlines(monkeypatch):
    """The deadline of every HTTP exchange, on the monotonic clock [s]; the exchange itself is the real one."""
    found: list[float] = []
    post = http.post

    def seen(call):
        found.append(call.deadline)
        return post(call)

    monkeypatch.setattr(http, "post", seen)
    return found


@pytest.mark.parametrize(
    ("behaviours", "n", "requests"),
    [(("ignores_n",), 3, 3), (("500", "answer"), 1, 2), (("close", "500", "answer"), 1, 3)],
    ids=["several-requests", "several-attempts", "faults-of-several-kinds"],
)
def test_every_request_and_every_attempt_has_the_deadline_of_the_call(behaviours, n, requests, deadlines):
    with llm_server(*behaviours) as server:
        chat = OpenAIChat(base_url=server.base_url, model="m", api_key_env=None, deadline_s=30.0, max_attempts=3)
        first = chat.complete(ASK, n=n)
        assert len(deadlines) == len(server.seen) == requests
        assert len(set(deadlines)) == 1, "a later request got time of its own"
        chat.complete(ASK)
    assert [answer.text for answer in first] == [ANSWER] * n
    assert deadlines[-1] > deadlines[0], "each call has a deadline of its own"


def test_a_failing_server_is_left_at_the_deadline_of_the_call(deadlines):
    with llm_server("500") as server:
        chat = OpenAIChat(base_url=server.base_url, model="m", api_key_env=None, deadline_s=1.0, max_attempts=50)
        with pytest.raises(ChatServerError):
            chat.complete(ASK)
    assert 1 <= len(deadlines) < 50
    assert len(set(deadlines)) == 1
