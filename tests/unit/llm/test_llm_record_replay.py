"""Records, replays and budgets."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.core.chat import Completion, Message, Usage, request_sha256
from embodied.core.errors import ChatModelError, ConfigError
from embodied.llm.budget import Budget, Ledger, prompt_bound
from embodied.llm.record import Recorder, read_calls
from embodied.llm.replay import ReplayChat, SessionReplay, shipped_records

TEXT = st.text(max_size=40)
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXT), min_size=1, max_size=4
)


SOME = Usage(3, 4)


class Scripted:
    """A chat model that gives the listed answers, or raises the listed errors, in order."""

    def __init__(self, *answers: str | Exception, usage: Usage = SOME, **provenance) -> None:
        self.answers, self.usage, self.provenance, self.calls = list(answers), usage, provenance, 0

    def complete(self, messages, n=1, temperature=0.0, max_tokens=4096):
        self.calls += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return [Completion(answer, "m", self.usage, "stop", self.provenance)] * n


def ask(text: str) -> list[Message]:
    return [Message("system", "You write rewards."), Message("user", text)]


# --- hash and round trip ---------------------------------------------------------------------------------
def test_the_request_hash_is_the_same_on_every_machine():
    assert request_sha256(ask("Öffne die Schublade.\n"), 2, 0.5) == (
        "40fe1b03cf8989659f2cfff52a229ae40f4fbe6039a4653c19145770f3b9878a"
    )


@given(MESSAGES, st.integers(1, 4), st.floats(0, 2))
def test_the_request_hash_depends_on_everything(messages, n, temperature):
    base = request_sha256(messages, n, temperature)
    assert base == request_sha256([Message(m.role, m.content) for m in messages], n, temperature)
    assert base != request_sha256(messages, n + 1, temperature)
    assert base != request_sha256([*messages, Message("user", "")], n, temperature)
    changed = [*messages[:-1], Message(messages[-1].role, messages[-1].content + " ")]
    assert base != request_sha256(changed, n, temperature)


@given(messages=MESSAGES, answer=st.text(), n=st.integers(1, 3), temperature=st.floats(0, 2))
def test_what_is_recorded_is_replayed(tmp_path_factory, messages, answer, n, temperature):
    folder = tmp_path_factory.mktemp("record")
    live = Recorder(Scripted(answer), folder).complete(messages, n, temperature)
    replayed = ReplayChat(folder=folder).complete(messages, n, temperature)
    assert [(a.text, a.model, a.usage, a.finish_reason) for a in replayed] == [
        (a.text, a.model, a.usage, a.finish_reason) for a in live
    ]
    assert replayed[0].provenance["source"] == "replay"


def test_rows_hold_what_a_reader_needs(tmp_path):
    recorder = Recorder(Scripted("one", source="openai"), tmp_path, name="drawer", prompt_version="v3")
    recorder.labels = {"round": 2}
    recorder.complete(ask("open"), 1, 0.2, 50)
    row = json.loads((tmp_path / "drawer.jsonl").read_text())
    assert row["request_sha256"] == request_sha256(ask("open"), 1, 0.2)
    assert row["messages"] == [{"role": m.role, "content": m.content} for m in ask("open")]
    assert row["parameters"] == {"n": 1, "temperature": 0.2, "max_tokens": 50}
    assert (row["prompt_version"], row["labels"], row["error"]) == ("v3", {"round": 2}, None)
    assert row["answers"][0]["provenance"] == {"source": "openai"}
    assert recorder.path.stat().st_mode & 0o077 == 0


def test_failed_calls_are_recorded_and_not_replayed(tmp_path):
    recorder = Recorder(Scripted(ChatModelError("no route")), tmp_path)
    with pytest.raises(ChatModelError, match="no route"):
        recorder.complete(ask("open"))
    assert json.loads(recorder.path.read_text())["error"] == "no route"
    assert read_calls(recorder.path) == []


def test_a_torn_line_spoils_no_other(tmp_path):
    first = Recorder(Scripted("one"), tmp_path)
    first.complete(ask("open"))
    with open(first.path, "ab") as file:
        file.write(b'{"format": 1, "reque')
    assert len(read_calls(first.path)) == 1
    Recorder(Scripted("two"), tmp_path).complete(ask("close"))
    replay = ReplayChat(folder=tmp_path)
    assert replay.complete(ask("open"))[0].text == "one"
    assert replay.complete(ask("close"))[0].text == "two"


def test_threads_do_not_mix_rows(tmp_path):
    recorder = Recorder(Scripted("x" * 20_000), tmp_path)
    threads = [threading.Thread(target=recorder.complete, args=(ask(str(k)),)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [c.damage for c in read_calls(recorder.path)] == [""] * 8


def test_a_full_disk_is_named():
    recorder = Recorder.__new__(Recorder)
    recorder.inner, recorder.path, recorder.labels = Scripted("x"), Path("/dev/full"), {}
    recorder.prompt_version, recorder._lock = "", threading.Lock()
    with pytest.raises(ChatModelError, match="No space left"):
        recorder.complete(ask("open"))


@pytest.mark.parametrize("name", ["a/b", "", "../x", "a b"])
def test_a_record_has_a_plain_name(tmp_path, name):
    with pytest.raises(ConfigError, match="name"):
        Recorder(Scripted("x"), tmp_path, name=name)


# --- replay ------------------------------------------------------------------------------------------------
def test_a_miss_names_the_closest_request_and_the_ways_out(tmp_path):
    recorder = Recorder(Scripted("one"), tmp_path)
    recorder.complete(ask("line one\nline two\nopen the drawer"))
    recorder.complete(ask("something\nelse"))
    with pytest.raises(ChatModelError) as caught:
        ReplayChat(folder=tmp_path).complete(ask("line one\nline two\nclose the drawer"))
    text = str(caught.value)
    assert request_sha256(ask("line one\nline two\nclose the drawer")) in text
    assert "calls.jsonl:1" in text
    assert (
        "line 3 of the last message was 'open the drawer' when recorded and is 'close the drawer' now" in text
    )
    for way in ("llm=openai", "llm=manual", "reward=library"):
        assert way in text


def test_a_miss_by_parameters_or_earlier_messages_says_so(tmp_path):
    Recorder(Scripted("one"), tmp_path).complete(ask("open"), 2, 0.5)
    replay = ReplayChat(folder=tmp_path)
    with pytest.raises(ChatModelError, match=r"recorded with n=2, temperature=0\.5"):
        replay.complete(ask("open"))
    with pytest.raises(ChatModelError, match="messages as a whole"):
        replay.complete([Message("user", "open")], 2, 0.5)


def test_zero_as_a_whole_number_is_the_same_temperature(tmp_path):
    Recorder(Scripted("one"), tmp_path).complete(ask("open"), 1, 0)
    assert ReplayChat(folder=tmp_path).complete(ask("open"), 1, 0.0)[0].text == "one"


def test_the_last_recording_counts(tmp_path):
    recorder = Recorder(Scripted("old", "new"), tmp_path)
    recorder.complete(ask("open"))
    recorder.complete(ask("open"))
    assert ReplayChat(folder=tmp_path).complete(ask("open"))[0].text == "new"


def test_several_answers_to_one_request_are_told_apart_by_their_sample(tmp_path):
    recorder = Recorder(Scripted("first", "second", "first again"), tmp_path)
    recorder.complete(ask("open"))
    recorder.labels = {"sample": 1}
    recorder.complete(ask("open"))
    recorder.labels = {}
    recorder.complete(ask("open"))
    told = [ReplayChat(folder=tmp_path, sample=k).complete(ask("open"))[0].text for k in (0, 1, 2)]
    assert told == ["first again", "second", "first again"]


def test_an_altered_answer_is_refused(tmp_path):
    recorder = Recorder(Scripted("height 1"), tmp_path)
    recorder.complete(ask("open"))
    recorder.path.write_text(recorder.path.read_text().replace("height 1", "height 2"))
    with pytest.raises(ChatModelError, match=r"calls\.jsonl:1 is damaged: answer 0 hashes to"):
        ReplayChat(folder=tmp_path).complete(ask("open"))


@pytest.mark.parametrize(
    ("old", "new", "damage"),
    [
        ("open", "shut", "the request hashes"),
        ('"format": 1', '"format": 9', "format 9"),
        ('"messages"', '"massages"', "missing"),
        ('{"format"', '["format"', "not a line of JSON"),
        ('"sha256": "', '"sha256": null, "x": "', "the row says None"),
        ('"usage": {', '"usage": [], "x": {', "missing or of the wrong type"),
    ],
)
def test_other_damage_is_told_at_the_miss(tmp_path, old, new, damage):
    recorder = Recorder(Scripted("one"), tmp_path)
    recorder.complete(ask("open"))
    recorder.path.write_text(recorder.path.read_text().replace(old, new))
    with pytest.raises(ChatModelError, match=damage):
        ReplayChat(folder=tmp_path).complete(ask("nothing like it"))


@given(data=st.binary(max_size=200), position=st.integers(0, 400))
def test_no_damage_crashes_the_reader(tmp_path_factory, data, position):
    recorder = Recorder(Scripted("one"), tmp_path_factory.mktemp("damage"))
    recorder.complete(ask("open"))
    good = recorder.path.read_bytes()
    recorder.path.write_bytes(good[:position] + data + good[position:])
    for call in read_calls(recorder.path):
        if not call.damage:
            assert call.completions()[0].text == "one"


def test_folder_and_name_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        ReplayChat(folder=tmp_path / "none")
    with pytest.raises(ConfigError, match="no record 'a'"):
        ReplayChat(folder=tmp_path, name="a")
    with pytest.raises(ChatModelError, match="among the 0 calls"):
        ReplayChat(folder=tmp_path).complete(ask("open"))


def test_the_shipped_records_are_whole():
    assert (shipped_records() / "README.md").is_file()
    assert [c.origin for c in ReplayChat().calls if c.damage] == []


# --- sessions ----------------------------------------------------------------------------------------------
def test_a_session_goes_by_position_and_writes_differences_down(tmp_path):
    recorder = Recorder(Scripted("one", "two"), tmp_path)
    recorder.complete(ask("first round"))
    recorder.complete(ask("second round\nsuccess 0.31"))
    session = SessionReplay(record=recorder.path, diff_folder=tmp_path / "diffs")
    assert session.complete(ask("first round"))[0].text == "one"
    [answer] = session.complete(ask("second round\nsuccess 0.29"))
    assert answer.text == "two"
    assert answer.provenance["prompt_differs"]
    assert (tmp_path / "diffs/prompt_000.diff").read_text() == ""
    diff = (tmp_path / "diffs/prompt_001.diff").read_text()
    assert "-success 0.31\n+success 0.29\n" in diff
    assert session.differences == ["", diff]
    with pytest.raises(ChatModelError, match="has 2 calls and all are used up"):
        session.complete(ask("third round"))


def test_a_session_can_start_later(tmp_path):
    recorder = Recorder(Scripted("one", "two"), tmp_path)
    recorder.complete(ask("a"))
    recorder.complete(ask("b"))
    assert SessionReplay(record=recorder.path, start=1).complete(ask("b"))[0].text == "two"
    for start in (-1, 3, True):
        with pytest.raises(ConfigError, match="start"):
            SessionReplay(record=recorder.path, start=start)
    with pytest.raises(ConfigError, match="neither a file nor"):
        SessionReplay(record="no-such-record")


def test_a_session_without_enough_answers_says_so(tmp_path):
    recorder = Recorder(Scripted("one"), tmp_path)
    recorder.complete(ask("a"), 2)
    with pytest.raises(ChatModelError, match="recorded 2 answers, 3 were asked for"):
        SessionReplay(record=recorder.path).complete(ask("a"), 3)


# --- budget ------------------------------------------------------------------------------------------------
@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 500), st.integers(1, 3)), max_size=8))
def test_the_ledger_is_the_sum_of_the_usages(calls):
    budget, total = Budget(Scripted("x")), Usage()
    for prompt, completion, n in calls:
        budget.inner = Scripted("x", usage=Usage(prompt, completion))
        for answer in budget.complete(ask("open"), n):
            total = Usage(
                total.prompt_tokens + answer.usage.prompt_tokens,
                total.completion_tokens + answer.usage.completion_tokens,
            )
    assert budget.ledger == Ledger(len(calls), total.prompt_tokens, total.completion_tokens)


@given(st.integers(1, 4000), st.lists(st.tuples(st.integers(1, 60), st.integers(1, 3)), max_size=20))
def test_a_token_limit_is_never_exceeded(limit, calls):
    """A server that uses everything it may still stays below the limit."""
    budget, before = Budget(Scripted("x"), max_tokens=limit), 0
    for max_tokens, n in calls:
        budget.inner = Scripted("x", usage=Usage(prompt_bound(ask("open")) // n, max_tokens))
        with contextlib.suppress(ChatModelError):
            budget.complete(ask("open"), n, 0.0, max_tokens)
        assert budget.inner.calls == budget.ledger.calls - before
        before = budget.ledger.calls
        assert budget.ledger.tokens <= limit


def test_calls_and_money_are_limited_before_sending():
    model = Scripted("x", usage=Usage(100, 100))
    budget = Budget(model, max_calls=2)
    budget.complete(ask("a"))
    budget.complete(ask("a"))
    with pytest.raises(ChatModelError, match=r"max_calls=2.*it was not sent"):
        budget.complete(ask("a"))
    assert model.calls == 2
    prices = {"usd_per_million_prompt_tokens": 1.0, "usd_per_million_completion_tokens": 10.0}
    budget = Budget(model, max_usd=0.05, **prices)
    budget.complete(ask("a"), 1, 0.0, 1000)
    assert budget.usd == pytest.approx(100 / 1e6 + 1000 / 1e6)
    with pytest.raises(ChatModelError, match="max_usd"):
        budget.complete(ask("a"), 1, 0.0, 5000)


def test_a_server_without_counts_is_no_way_around():
    budget = Budget(Scripted("x", usage=Usage()), max_tokens=1000)
    budget.complete(ask("a"), 1, 0.0, 600)
    assert budget.ledger.completion_tokens == 0
    assert budget.ledger.unreported_completion_tokens == 600
    with pytest.raises(ChatModelError, match="max_tokens"):
        budget.complete(ask("a"), 1, 0.0, 600)


def test_a_failed_call_counts_as_a_call():
    budget = Budget(Scripted(ChatModelError("no")), max_calls=1)
    with pytest.raises(ChatModelError, match="no"):
        budget.complete(ask("a"))
    assert budget.ledger == Ledger(calls=1)
    with pytest.raises(ChatModelError, match="max_calls"):
        budget.complete(ask("a"))


def test_calls_under_way_count():
    inside, leave = threading.Event(), threading.Event()

    class Slow(Scripted):
        def complete(self, *arguments, **named):
            inside.set()
            leave.wait(10)
            return super().complete(*arguments, **named)

    budget = Budget(Slow("x"), max_calls=1)
    thread = threading.Thread(target=budget.complete, args=(ask("a"),))
    thread.start()
    inside.wait(10)
    with pytest.raises(ChatModelError, match="under way"):
        budget.complete(ask("b"))
    leave.set()
    thread.join()
    assert budget.ledger.calls == 1


def test_a_ledger_survives_a_restart():
    budget = Budget(Scripted("x"), max_calls=2)
    budget.complete(ask("a"))
    resumed = Budget(Scripted("x"), max_calls=2, spent=json.loads(json.dumps(budget.to_json())))
    assert resumed.ledger == budget.ledger
    resumed.complete(ask("a"))
    with pytest.raises(ChatModelError, match="max_calls"):
        resumed.complete(ask("a"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_calls": 0},
        {"max_tokens": 1.5},
        {"max_usd": -1},
        {"max_usd": 1.0},
        {"usd_per_million_prompt_tokens": -1.0},
        {"spent": {"calls": -1}},
        {"spent": {"dollars": 1}},
    ],
)
def test_wrong_limits_are_named(wrong):
    with pytest.raises(ConfigError, match="Budget"):
        Budget(Scripted("x"), **wrong)
