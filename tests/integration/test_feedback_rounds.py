"""Feedback rounds by command: parent=<run> feedback="...", against a real HTTP server and real folders."""

from __future__ import annotations

import llm_server as servers
import pytest
from scripted import fenced
from tiny import WORDS, one_line_error, run

from embodied.core.files import read_json
from embodied.core.runs import RunFolder, find_runs
from embodied.llm.record import read_calls

DISTANCE = "np.linalg.norm(world.gripper.position - world.goal.position, axis=-1)"
FIRST = f"def reward(world, action):\n    return {{'close': -{DISTANCE}}}\n"
SECOND = FIRST.replace("close", "closer")
THIRD = FIRST.replace("close", "closest")
QUICK = [*(w for w in WORDS if not w.startswith("reward=")), "trainer.total_steps=128", "reward=text2reward"]


@pytest.fixture
def model(monkeypatch):
    """A server whose model gives the three programs one after the other."""
    for name, source in (("one", FIRST), ("two", SECOND), ("three", THIRD)):
        answer = fenced("import numpy as np\n\n" + source)
        monkeypatch.setattr(servers._Handler, f"_{name}", lambda s, b, a=answer: s._answer(b, content=a), raising=False)
    monkeypatch.setenv("A_KEY", "sk-something")
    with servers.llm_server("one", "two", "three") as server:
        yield server, ["llm=openai", f"llm.base_url={server.base_url}", "llm.model=m", "llm.api_key_env=A_KEY"]


def train(folder, *words) -> RunFolder:
    """One training by the command; its run folder."""
    before = {r.path for r in find_runs(folder)}
    done = run("train", *QUICK, f"runs_dir={folder}", *words)
    assert done.returncode == 0, done.stderr
    (new,) = [r for r in find_runs(folder) if r.path not in before]
    return new


def test_each_round_shows_the_model_all_earlier_programs_and_feedback(model, tmp_path):
    server, llm = model
    first = train(tmp_path, *llm)
    second = train(tmp_path, *llm, f"parent={first.path}", "observed='It circles.'", "feedback='It shall stop.'")
    third = train(tmp_path, *llm, f"parent={second.path}", "feedback='It shall hurry.'")
    roles = [[m["role"] for m in seen.body["messages"]] for seen in server.seen]
    assert roles == [["system", "user"] + ["assistant", "user"] * k for k in range(3)]
    text = [m["content"] for m in server.seen[2].body["messages"]]
    assert "'close'" in text[2]
    assert "It circles." in text[3]
    assert "It shall stop." in text[3]
    assert "'closer'" in text[4]
    assert "% of 4 episodes" in text[5], "what nobody described is what was measured"
    assert "It shall hurry." in text[5]
    assert [r.result["round"] for r in (first, second, third)] == [0, 1, 2]
    program = read_json(third / "reward" / "round_2" / "program.json")
    assert "'closest'" in program["source"]
    assert program["provenance"]["round"] == 2
    assert len(list(read_calls(third / "llm" / "calls.jsonl"))) == 1
    assert "It shall stop." in (third / "report.html").read_text()


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return train(tmp_path_factory.mktemp("parent"), "reward=expert").path


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["feedback='Faster.'"], "needs both"),
        (["parent={parent}"], "needs both"),
        (["parent=/nowhere", "feedback='Faster.'"], "not a run folder"),
        (["parent={parent}", "feedback='Faster.'", "task=press_button"], "add task=reach"),
    ],
)
def test_a_round_without_its_parts_is_refused_and_leaves_nothing(tmp_path, parent, words, why):
    given = [w.format(parent=parent) for w in words]
    done = run("train", *QUICK, f"runs_dir={tmp_path / 'runs'}", *given)
    assert done.returncode == 2
    assert why in one_line_error(done.stderr)
    assert not list((tmp_path / "runs").glob("*/*"))
