"""A talk with a simulated robot: sentences move it, undo moves it back, a talk goes on bit by bit, nothing is lost."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest
from talking import TASK_CONFIG, Speaker, make_pool, program, run_folder, session

from embodied.core.errors import CheckpointError, ConfigError, RewardCodeError
from embodied.core.reward import RewardProgram
from embodied.data.episode import load_episode
from embodied.rl.writing import make_task
from embodied.sessions.talk.live import LiveBody
from embodied.sessions.talk.live_talk import LiveTalk
from embodied.sessions.talk.script import LockstepBody, parse_script, run_script
from embodied.sessions.talk.session import ledger_rows
from embodied.sessions.talk.stage import Stage

SCRIPT = "height 0.16\nheading 0.5\n/undo\n/wait 0.2\n"


@pytest.fixture(scope="module")
def task():
    return make_task(TASK_CONFIG)


@pytest.fixture(scope="module")
def pool(task):
    pool = make_pool(task)
    pool.fill()
    yield pool
    pool.close()


def scripted(tmp_path, task, pool, script, folder=None, stage=None):
    folder = folder or run_folder(tmp_path)
    stage = stage or Stage(task, TASK_CONFIG, 0)
    talk = session(folder, stage)
    talk.restore()
    body = LockstepBody(stage, pool)
    talk.attach(body)
    pool.fill()
    rows = run_script(talk, body, parse_script(script, 0.4))
    body.rest()
    return talk, rows


def test_a_script_moves_the_robot(tmp_path, task, pool):
    talk, rows = scripted(tmp_path, task, pool, "height 0.16\n/wait 1.0\n")
    assert [row["outcome"] for row in rows] == ["moving", "waiting"]
    height = talk.stage.now.states[0, 3]
    assert abs(height - 0.16) < 0.03
    assert [row["kind"] for row in ledger_rows(talk.folder.path)] == ["say", "answer", "moving", "played", "played"]
    assert (talk.folder / "reward/round_0/program.py").is_file()


def test_a_correction_builds_on_what_was_said(tmp_path, task, pool):
    chat = Speaker()
    talk = session(run_folder(tmp_path), Stage(task, TASK_CONFIG, 0), chat)
    talk.say("height 0.2", "request-1")
    turn = talk.say("heading 0.7", "request-2")
    assert "set_torso_targets(0.2, 0, 0, (0, 0), None, 0.7, None)" in turn.program.provenance["code"]
    assert talk.undo("request-3")
    assert [t["text"] for t in talk.view()["turns"]] == ["height 0.2"]


def test_a_talk_goes_on_bit_by_bit(tmp_path, task, pool):
    whole, _ = scripted(tmp_path, task, pool, SCRIPT)
    half, _ = scripted(tmp_path, task, pool, "\n".join(SCRIPT.splitlines()[:2]))
    rest, rows = scripted(tmp_path, task, pool, SCRIPT, folder=half.folder)
    assert len(rows) == 4
    np.testing.assert_array_equal(whole.stage.now.states, rest.stage.now.states)
    assert [t.text for t in whole.state.turns] == [t.text for t in rest.state.turns] == ["height 0.16"]


def test_a_state_of_another_robot_or_a_damaged_one_is_refused(tmp_path, task):
    stage = Stage(task, TASK_CONFIG, 0)
    stage.save(tmp_path / "state.npz")
    with pytest.raises(CheckpointError, match="is a state of"):
        Stage(make_task("reach"), {}, 0).load(tmp_path / "state.npz")
    (tmp_path / "state.npz").write_bytes((tmp_path / "state.npz").read_bytes()[:200])
    with pytest.raises(CheckpointError, match="cannot be read"):
        stage.load(tmp_path / "state.npz")


def test_an_answer_that_never_works_changes_nothing(tmp_path, task):
    talk = session(run_folder(tmp_path), Stage(task, TASK_CONFIG, 0))
    talk.say("height 0.2", "request-1")
    with pytest.raises(RewardCodeError, match="must stand between the lines"):
        talk.say("nonsense", "request-2")
    view = talk.view()
    assert [t["text"] for t in view["turns"]] == ["height 0.2"]
    assert "must stand between the lines" in view["message"]
    assert talk.say("height 0.3", "request-3").text == "height 0.3"


def test_a_request_that_comes_twice_is_acted_upon_once(tmp_path, task):
    chat = Speaker()
    talk = session(run_folder(tmp_path), Stage(task, TASK_CONFIG, 0), chat)
    talk.say("height 0.2", "request-1")
    assert talk.say("height 0.2", "request-1") is None
    assert len(chat.asked) == 2  # descriptor and coder, once each
    assert talk.undo("request-2")
    assert not talk.undo("request-2")


def test_a_talk_that_was_killed_while_it_asked_can_be_asked_again(tmp_path, task):
    folder = run_folder(tmp_path)
    talk = session(folder, Stage(task, TASK_CONFIG, 0))
    talk._write(kind="say", id="request-1", text="height 0.2", t_s=0.0)
    again = session(folder, Stage(task, TASK_CONFIG, 0))
    assert again.view()["phase"] == "idle"
    assert "say it again" in again.view()["message"]


@pytest.mark.parametrize("text", ["", "   ", "x" * 4001])
def test_sentences_have_a_length(tmp_path, task, text):
    talk = session(run_folder(tmp_path), Stage(task, TASK_CONFIG, 0))
    with pytest.raises(ConfigError, match="1 to 4000 characters"):
        talk.say(text, "request-1")


def test_what_is_kept_can_be_read_again(tmp_path, task, pool):
    talk, _ = scripted(tmp_path, task, pool, "height 0.2\n/save\n")
    (kept,) = talk.state.saved
    episode = load_episode(talk.folder / kept["files"]["episode"])
    assert episode.task == "quadruped/sit_down"
    assert episode.instruction == "height 0.2"
    assert len(episode.actions) == 20
    np.testing.assert_array_equal(episode.states[-1], talk.stage.now.states[0])
    saved = RewardProgram.from_json(__import__("json").loads((talk.folder / kept["files"]["program"]).read_text()))
    assert saved.sha256 == talk.state.program.sha256


@pytest.mark.parametrize(
    ("script", "why"),
    [("", "says nothing"), ("/dance", "line 1"), ("sit\n/wait soon", "line 2"), ("/wait 1e9", "line 1")],
)
def test_scripts_that_cannot_be_read(script, why):
    with pytest.raises(ConfigError, match=why):
        parse_script(script, 1.0)


# --- in real time ----------------------------------------------------------------------------------------------
@pytest.fixture
def live(tmp_path, task):
    stage, pool = Stage(task, TASK_CONFIG, 0), make_pool(task)
    talk = session(run_folder(tmp_path), stage)
    pool.fill()
    body = LiveBody(stage, pool, note=talk.note, failed=talk.failed).start()
    talk.attach(body)
    found = LiveTalk(talk, body, pool)
    yield found
    found.close()


def until(condition, timeout_s=30.0):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_the_robot_moves_while_it_is_talked_to_and_a_killed_planner_is_replaced(live):
    threading.Timer(0.0, lambda: live.post("say", "height 0.15", "request-1")).start()

    def scenario():
        assert until(lambda: live.view()["pulse"]["plans_hz"] > 0)
        pid = live.view()["pulse"]["planner_pid"]
        os.kill(pid, signal.SIGKILL)
        assert until(lambda: live.view()["pulse"]["restarts"] == 1)
        assert until(lambda: live.view()["pulse"]["planner_pid"] not in (None, pid))
        t_s = live.view()["t_s"]
        assert until(lambda: live.view()["t_s"] > t_s + 0.5)
        assert until(lambda: abs(live.session.stage.now.states[0, 3] - 0.15) < 0.04)

    failures = []

    def watched():
        try:
            scenario()
        except BaseException as error:
            failures.append(error)
        finally:
            live.post("quit")

    thread = threading.Thread(target=watched)
    thread.start()
    live.run()
    thread.join()
    assert not failures, failures
    assert "another one goes on" in live.view()["message"]
    assert (live.session.folder / "checkpoints/state.npz").is_file()


def test_a_program_that_does_not_run_leaves_the_old_one_in_force(live):
    live.body.follow(program(0.2), 1)
    broken = RewardProgram("def reward(world, action):\n    return {'a': world.gone}\n", "person", "t")
    with pytest.raises(RewardCodeError, match="gone"):
        live.body.follow(broken, 2)
    live.pool.fill()
    assert until(lambda: live.view()["pulse"]["plans_hz"] > 0)
    seen = live.view()["t_s"]
    assert until(lambda: live.view()["t_s"] > seen + 0.2)
    assert set(live.view()["pulse"]["terms"]) >= {"torso_height", "balance"}


def test_too_many_requests_are_refused(live):
    for _ in range(16):
        live.post("save")
    with pytest.raises(ConfigError, match="wait already"):
        live.post("save")
    with pytest.raises(ConfigError, match="say, undo, save, quit"):
        live.post("dance")
