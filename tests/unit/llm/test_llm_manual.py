"""A person as the model: folder and terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from embodied.core.chat import Message, request_sha256
from embodied.core.errors import ChatModelError, ConfigError
from embodied.llm.manual import ManualChat, printable, read_pasted

ASK = [Message("system", "You write rewards."), Message("user", "Open the drawer: Öl.")]
HASH = request_sha256(ASK)[:16]


def soon() -> float:
    return time.monotonic() + 5.0


def test_a_prompt_goes_out_and_the_answer_comes_back(tmp_path, capsys):
    chat = ManualChat(folder=tmp_path / "new", model_name="some-model", timeout_s=10, poll_s=0.02)
    answer = tmp_path / "new" / f"{HASH}.answer.md"

    def person() -> None:
        prompt = tmp_path / "new" / f"{HASH}.prompt.md"
        while not prompt.exists():
            time.sleep(0.01)
        assert "[user]\nOpen the drawer: Öl." in prompt.read_text("utf-8")
        with open(answer, "w", encoding="utf-8") as file:  # written in two goes: only the whole counts
            file.write("first ")
            file.flush()
            time.sleep(0.2)
            file.write("second\n")

    thread = threading.Thread(target=person)
    thread.start()
    [completion] = chat.complete(ASK)
    thread.join()
    assert (completion.text, completion.model) == ("first second\n", "some-model")
    assert completion.provenance["source"] == "manual"
    assert str(answer) in capsys.readouterr().err


def test_an_answer_that_lies_there_is_used(tmp_path):
    (tmp_path / f"{HASH}.answer.md").write_bytes(b"\xef\xbb\xbfready\r\n")
    assert ManualChat(folder=tmp_path, timeout_s=5).complete(ASK)[0].text == "ready\r\n"


def test_several_answers_have_numbers(tmp_path):
    name = request_sha256(ASK, 2)[:16]
    for k in (1, 2):
        (tmp_path / f"{name}.answer-{k}.md").write_text(f"answer {k}")
    assert [a.text for a in ManualChat(folder=tmp_path).complete(ASK, n=2)] == ["answer 1", "answer 2"]


@pytest.mark.parametrize(("content", "text"), [(None, "did not come"), (b"", "is empty")])
def test_waiting_ends(tmp_path, content, text):
    if content is not None:
        (tmp_path / f"{HASH}.answer.md").write_bytes(content)
    with pytest.raises(ChatModelError, match=text) as caught:
        ManualChat(folder=tmp_path, timeout_s=0.2).complete(ASK)
    assert "llm.timeout_s" in str(caught.value)


@pytest.mark.parametrize(("content", "text"), [(b"\xff\xfe", "UTF-8"), (b"x" * 101, "llm.max_bytes")])
def test_unusable_answers_are_explained(tmp_path, content, text):
    (tmp_path / f"{HASH}.answer.md").write_bytes(content)
    with pytest.raises(ChatModelError, match=text):
        ManualChat(folder=tmp_path, timeout_s=5, max_bytes=100).complete(ASK)


def test_wrong_arguments_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    for wrong in ({"timeout_s": 0}, {"model_name": ""}, {"folder": tmp_path / "file" / "x"}):
        with pytest.raises(ConfigError, match="ManualChat"):
            ManualChat(**wrong)


def pipe(data: bytes, close: bool = True) -> int:
    reading, writing = os.pipe()
    os.write(writing, data)
    if close:
        os.close(writing)
    return reading


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\nb\n<<<END>>>\nrest", "a\nb\n"),
        (b"a\n  <<<END>>> \r\n", "a\n"),
        (b"a b <<<END>>>\n<<<END>>>\n", "a b <<<END>>>\n"),
        (b"no end line", "no end line"),
    ],
)
def test_pasting_ends_with_its_line_or_the_input(data, text):
    assert read_pasted(pipe(data), soon()) == text


def test_what_follows_the_end_line_stays_for_the_next_answer():
    descriptor = pipe(b"a\n<<<END>>>\nb\n<<<END>>>\n")
    assert [read_pasted(descriptor, soon()) for _ in range(2)] == ["a\n", "b\n"]


@pytest.mark.parametrize(
    ("data", "close", "end_s", "text"),
    [
        (b"", True, 5, "nothing was pasted"),
        (b" \n<<<END>>>\n", True, 5, "nothing was pasted"),
        (b"begun", False, 0.1, "in time"),
        (b"x" * 50, True, 5, "llm.max_bytes=20"),
        (b"\xff", True, 5, "UTF-8"),
    ],
)
def test_pasting_fails_clearly(data, close, end_s, text):
    with pytest.raises(ChatModelError, match=text):
        read_pasted(pipe(data, close), time.monotonic() + end_s, 20)


def test_at_the_terminal_of_a_process():
    code = (
        "from embodied.core.chat import Message\nfrom embodied.llm.manual import ManualChat\n"
        "print([a.text for a in ManualChat(timeout_s=20).complete([Message('user', 'Say\\x1b[2J hi')], n=2)])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        input="one\n<<<END>>>\ntwo\n<<<END>>>\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout == "['one\\n', 'two\\n']\n"
    assert "Say?[2J hi" in run.stderr
    assert "answer 2 of 2" in run.stderr


def test_without_a_terminal_the_folder_is_named(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ChatModelError, match=r"llm\.folder"):
        ManualChat().complete(ASK)


def test_no_control_character_reaches_the_terminal():
    text = printable("".join(map(chr, range(0x100))) + "\ud800")
    assert not any((ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 for c in text)
    text.encode()
