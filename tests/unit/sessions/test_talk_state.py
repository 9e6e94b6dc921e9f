"""The fold over a talk's ledger."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from talking import program

from embodied.sessions.talk.state import ASKING, IDLE, MOVING, TalkState

PROGRAM = program(0.2).to_json()


def say(key, text="go"):
    return {"kind": "say", "id": key, "text": text, "t_s": 1.0}


def answer(key):
    return {"kind": "answer", "id": key, "program": PROGRAM, "asked_s": 0.1}


def test_a_sentence_becomes_a_turn():
    state = TalkState.of([say("a")])
    assert state.phase == ASKING
    state.apply(answer("a"))
    assert state.phase == MOVING
    assert [turn.text for turn in state.turns] == ["go"]


def test_a_fault_leaves_what_held():
    rows = [say("a", "one"), answer("a"), say("b", "two"), {"kind": "fault", "id": "b", "message": "no"}]
    state = TalkState.of(rows)
    assert [turn.text for turn in state.turns] == ["one"]
    assert state.message == "no"


def test_a_program_that_fails_while_it_runs_is_taken_back():
    state = TalkState.of([say("a"), answer("a"), {"kind": "fault", "id": "a", "message": "line 3"}])
    assert state.phase == IDLE
    assert state.program is None


def test_undo_takes_back_the_question_first_then_the_turns():
    state = TalkState.of([say("a", "one"), answer("a"), say("b", "two"), {"kind": "undo", "id": "u1"}])
    assert state.asking is None
    assert [turn.text for turn in state.turns] == ["one"]
    state.apply(answer("b"))  # it comes late, and nobody wants it any more
    assert [turn.text for turn in state.turns] == ["one"]
    state.apply({"kind": "undo", "id": "u2"})
    assert state.phase == IDLE


def test_history_pairs_each_program_with_the_sentence_that_came_after_it():
    rows = [say("a", "one"), answer("a"), say("b", "two"), answer("b")]
    history = TalkState.of(rows).history()
    assert [round_.request for round_ in history] == ["two", ""]


KINDS = ("say", "answer", "fault", "undo", "note", "saved", "moving", "unheard of")


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("abc")), max_size=30), st.integers(0, 30))
def test_any_ledger_can_be_read_and_read_in_two_parts(events, cut):
    rows = []
    for kind, key in events:
        row = {"kind": kind, "id": key, "text": "t", "t_s": 0.0, "program": PROGRAM, "message": "m", "files": {}}
        rows.append(row)
    whole, parts = TalkState.of(rows), TalkState.of(rows[:cut])
    for row in rows[cut:]:
        parts.apply(row)
    assert whole == parts
    assert whole.count >= len(whole.turns)
