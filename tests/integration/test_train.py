"""`embodied train` from the sentence to the report, and the commands that work on what it leaves."""

from __future__ import annotations

import html
import json
import re
import threading
from pathlib import Path

import llm_server as servers
import pytest
from scripted import fenced
from tiny import WORDS, events, one_line_error, only_run, opengl_works, run, until

from embodied.commands.main import main
from embodied.core.files import read_json
from embodied.core.runs import find_runs
from embodied.llm.record import read_calls
from embodied.llm.replay import shipped_records
from embodied.rl.policy import MLPPolicy
from embodied.rl.writing import make_task, shipped_tasks

STEPS = "trainer.total_steps=1024"
GOOD = '''def reward(world, action):
    distance = np.linalg.norm(world.goal.position - world.gripper.position, axis=-1)
    return {"close": 1.0 - np.tanh(4.0 * distance), "effort": -0.01 * np.sum(action**2, axis=-1)}
'''
BROKEN = GOOD.replace("world.gripper.position", "world.hand.position")


def train(runs_dir: Path, *words: str) -> int:
    return main(["train", *WORDS, STEPS, f"runs_dir={runs_dir}", *words])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A complete run with the expert reward, the random baseline, and a film where there is OpenGL."""
    runs_dir = tmp_path_factory.mktemp("runs")
    film = ["video.episodes=1", "video.width=64", "video.height=48"] if opengl_works() else []
    assert train(runs_dir, "baselines=[expert,random]", "name=whole", *film) == 0
    return only_run(runs_dir)


def test_the_run_folder_has_its_shape(trained):
    for name in (
        "config.yaml", "overrides.txt", "provenance.json", "events.jsonl", "metrics.jsonl", "report.html",
        "result.json",
        "reward/round_0/program.py", "reward/round_0/check.json", "reward/round_0/program.json",
        "checkpoints/written.selection.json", "policy/manifest.json", "policy/policy.safetensors",
    ):  # fmt: skip
        assert (trained / name).is_file(), name
    assert trained.path.stat().st_mode & 0o077 == 0
    assert not list(trained.path.rglob("*.tmp"))
    assert trained.path.name.split("-")[3] == "whole"
    assert list((trained / "tb").rglob("events.out.tfevents*"))


def test_the_result(trained):
    result = trained.result
    assert result["task"] == "reach"
    assert result["reward"]["writer"] == "expert"
    assert result["steps"] == 1024
    assert result["success"]["episodes"] == 4
    assert 0 <= result["success"]["low"] <= result["success"]["rate"] <= result["success"]["high"] <= 1
    # The written reward is the expert's own: training it twice would show nothing.
    assert set(result["baselines"]) == {"random"}
    # All rows of the report are measured on the same fresh starts, and the choice on others.
    assert result["baselines"]["random"]["seed"] == result["success"]["seed"]
    chosen_on = {row["seed"] for row in trained.metrics() if row["kind"] == "evaluation"}
    assert chosen_on
    assert result["success"]["seed"] not in chosen_on
    assert MLPPolicy.load(trained / result["policy"]).task == "reach"


def test_the_records_of_training(trained):
    rows = list(trained.metrics())
    assert {row["kind"] for row in rows} == {"progress", "evaluation"}
    assert all(set(row["terms"]) == {"near", "at_goal", "effort"} for row in rows if row["kind"] == "progress")
    kinds = [row["event"] for row in trained.events()]
    assert kinds[:2] == ["reward", "training_started"]
    assert "training_done" in kinds
    lock = next(row for row in trained.events() if row["event"] == "training_started")["lock"]
    assert {"landlock", "seccomp", "rlimits"} <= set(lock["layers"])
    assert lock["missing"] == {}
    assert {*WORDS, STEPS, "name=whole"} <= set((trained / "overrides.txt").read_text().splitlines())
    given = read_json(trained / "provenance.json")
    assert given["seed"] == 0
    assert given["packages"]["torch"]


def test_the_report_is_one_self_contained_page(trained):
    page = (trained / "report.html").read_text()
    assert "Move the gripper to the goal position" in page
    text = html.unescape(re.sub("<[^>]*>", "", page))
    assert "def reward(world, action)" in text
    found = trained.result["success"], trained.result["baselines"]["random"]
    for row in found:  # no rate without its interval: in the bars, and in the headline
        assert text.count(f"{row['low']:.0%} to {row['high']:.0%}") >= 1 + (found[0]["rate"] == found[1]["rate"])
    assert f"(95% interval {found[0]['low']:.0%} to {found[0]['high']:.0%})" in text
    for link in ('src="http', "src='http", 'href="http', "url(http", "@import"):
        assert link not in page
    if opengl_works():
        assert "data:video/mp4;base64," in page
        assert (trained / "videos" / "written.mp4").stat().st_size > 1000


def test_resuming_a_complete_run_says_so(trained, capsys):
    before = (trained / "result.json").stat().st_mtime_ns
    assert main(["train", f"resume={trained.path}"]) == 0
    assert "this run is complete" in capsys.readouterr().out
    assert (trained / "result.json").stat().st_mtime_ns == before


def test_evaluate(trained, capsys):
    assert main(["evaluate", f"run={trained.path}", "episodes=5", "task_changes={tolerance_m: 1.0}"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (row["task"], row["episodes"]) == ("reach", 5)
    assert row["rate"] > 0, "a tolerance of a metre is met by anything that stands still"
    assert main(["evaluate", f"run={trained.path}", "episodes=3", "randomization=strong"]) == 0
    assert len([e for e in trained.events() if e["event"] == "evaluation"]) == 2
    assert main(["evaluate", f"run={trained.path}", "task_changes={tolerance: 1.0}"]) == 2
    assert "tolerance_m" in capsys.readouterr().err


@pytest.mark.skipif(not opengl_works(), reason="no OpenGL here")
def test_watch(trained, tmp_path, capsys):
    small = ["episodes=1", "width=64", "height=48"]
    assert main(["watch", str(trained.path), *small, f"output={tmp_path / 'p.mp4'}"]) == 0
    assert main(["watch", "task=reach", *small, f"output={tmp_path / 'e.mp4'}"]) == 0
    for name in ("p", "e"):
        assert (tmp_path / f"{name}.mp4").read_bytes()[4:8] == b"ftyp"
    assert main(["watch"]) == 2
    assert "watch what?" in capsys.readouterr().err


def test_a_window_without_a_display(trained):
    done = run("watch", f"run={trained.path}", "window=true", env={"DISPLAY": "", "WAYLAND_DISPLAY": ""})
    if done.returncode != 0:  # a machine with a display may well open one
        assert done.returncode == 2, done.stderr
        assert "window=false" in one_line_error(done.stderr)


def test_runs_list(trained, capsys):
    assert main(["runs", "list", f"runs_dir={trained.path.parents[1]}", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"].startswith("whole")
    assert (row["task"], row["writer"], row["path"]) == ("reach", "expert", str(trained.path))


def test_reward_check_of_the_programs_own_file(trained, capsys):
    path = trained / "reward/round_0/program.py"
    assert main(["reward", "check", str(path), "--task", "reach", "--run"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["verdict"] == "accepted"
    assert verdict["screen"]["auc"] >= 0.95


def test_the_same_seed_gives_the_same_run_and_another_seed_another(trained, tmp_path):
    assert main(["train", *WORDS, STEPS, "-m", "seed=0,1", f"runs_dir={tmp_path}"]) == 0
    runs = {read_json(r / "provenance.json")["seed"]: r for r in find_runs(tmp_path)}
    assert set(runs) == {0, 1}
    digest = {seed: next(e for e in r.events() if e["event"] == "training_done") for seed, r in runs.items()}
    first = next(e for e in trained.events() if e["event"] == "training_done")
    assert digest[0]["weights_sha256"] == first["weights_sha256"]
    assert digest[1]["weights_sha256"] != first["weights_sha256"]
    (record,) = tmp_path.rglob("sweep.json")
    assert [job["exit_code"] for job in read_json(record)["jobs"]] == [0, 0]


# --- writers ----------------------------------------------------------------------------------------------
def test_simulation_threads_change_nothing_in_the_policy(trained, tmp_path):
    assert train(tmp_path, "baselines=[]", "name=threads", "n_threads=2") == 0
    mine, other = (read_json(r / "policy" / "manifest.json") for r in (trained, only_run(tmp_path)))
    assert mine["sha256"] == other["sha256"]


def test_library_with_a_free_sentence_and_awkward_characters(tmp_path, capsys):
    sentence = "Bring the gripper [/close] to the [bold]goal[/bold] point"
    code = train(tmp_path, "reward=library", f'instruction="{sentence}"', "baselines=[random]")
    assert code == 0, capsys.readouterr().err
    assert sentence in capsys.readouterr().out
    found = only_run(tmp_path)
    assert found.result["instruction"] == sentence
    assert found.result["reward"]["writer"] == "library"
    assert "no language model wrote it" in (found / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["reward=library", "instruction='Make me a cup of coffee.'"], "no program for"),
        (["reward=library", "instruction='Open the drawer.'"], "Run it with task=open_drawer"),
        (["reward=file", "reward.path=/nowhere/r.py"], "cannot be read"),
        (["reward=file", "reward.path={hostile}"], "line 1"),
        (["reward=file", "reward.path={unknown}"], "hand"),
        (["reward=text2reward", "llm=replay", "instruction='Something that nobody recorded.'"], "no recorded answer"),
    ],
    ids=["unrelated", "other task", "no file", "hostile", "unknown quantity", "not recorded"],
)
def test_no_reward_no_training_no_folder(words, why, tmp_path, capsys):
    files = {"hostile": tmp_path / "hostile.py", "unknown": tmp_path / "unknown.py"}
    files["hostile"].write_text("import os\ndef reward(world, action):\n    os.system('touch /tmp/x')\n    return {}\n")
    files["unknown"].write_text(BROKEN)
    runs_dir = tmp_path / "runs"
    assert train(runs_dir, *(word.format(**files) if "{" in word else word for word in words)) == 2
    captured = capsys.readouterr()
    assert why in one_line_error(captured.err)
    assert find_runs(runs_dir) == []
    assert not list(runs_dir.rglob("*")), "something was left behind"


def answer_when_asked(folder: Path, text: str) -> threading.Thread:
    def drop():
        (prompt,) = until(lambda: list(folder.glob("*.prompt.md")), "the prompt")
        assert "Move the gripper" in prompt.read_text()
        prompt.with_name(prompt.name.replace(".prompt.md", ".answer.md")).write_text(text)

    thread = threading.Thread(target=drop)
    thread.start()
    return thread


def test_manual_with_an_answer_dropped_as_a_file(tmp_path, capsys):
    folder = tmp_path / "mail"
    thread = answer_when_asked(folder, fenced(GOOD))
    code = train(tmp_path / "runs", "reward=text2reward", "llm=manual", f"llm.folder={folder}", "llm.poll_s=0.05")
    thread.join()
    assert code == 0, capsys.readouterr().err
    found = only_run(tmp_path / "runs")
    assert found.result["reward"]["writer"] == "text2reward"
    assert (found / "reward/round_0/program.py").read_text().strip() == GOOD.strip()
    assert (found / "reward/round_0/answer.md").read_text() == fenced(GOOD)
    (call,) = read_calls(found / "llm" / "calls.jsonl")
    assert call.completions()[0].text == fenced(GOOD)


def test_a_server_that_first_answers_with_a_broken_program(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(servers._Handler, "_broken", lambda s, b: s._answer(b, content=fenced(BROKEN)), raising=False)
    monkeypatch.setattr(servers._Handler, "_good", lambda s, b: s._answer(b, content=fenced(GOOD)), raising=False)
    monkeypatch.setenv("A_KEY", "sk-something")
    with servers.llm_server("broken", "good") as server:
        code = train(
            tmp_path, "reward=text2reward", "llm=openai", f"llm.base_url={server.base_url}", "llm.model=some-model",
            "llm.api_key_env=A_KEY", "baselines=[expert]",
        )  # fmt: skip
        assert code == 0, capsys.readouterr().err
        assert len(server.seen) == 2
        repair = server.seen[1].body["messages"]
    assert [m["role"] for m in repair] == ["system", "user", "assistant", "user"]
    assert "line 2" in repair[-1]["content"]
    assert "hand" in repair[-1]["content"]
    found = only_run(tmp_path)
    assert {p.name for p in (found / "reward/round_0").iterdir()} >= {
        "prompt.md", "answer.md", "attempt.json", "prompt_1.md", "answer_1.md", "attempt_1.json", "program.py",
    }  # fmt: skip
    assert read_json(found / "reward/round_0/attempt.json")["line"] == 2
    assert set(found.result["baselines"]) == {"expert"}, "another program than the expert's has it as its baseline"
    assert [row["job"] for row in events(tmp_path, "training_done")].count("expert") == 1
    page = (found / "report.html").read_text()
    assert "close" in page
    assert "written reward" in page
    assert "expert reward" in page


def recorded_tasks() -> list[str]:
    """Tasks that somebody asked a model about, whatever has changed since within the classes it was shown."""
    calls = [call for path in sorted(shipped_records().glob("*.jsonl")) for call in read_calls(path)]
    asked = ["\n".join(m.content for m in call.messages) for call in calls]
    return [name for name in shipped_tasks() if any(_asks_for(text, make_task(name)) for text in asked)]


def _asks_for(text, task) -> bool:
    """Two robots may be told the same sentence: the classes of their worlds tell them apart."""
    classes = re.findall(r"^class \w+:$", task.schema.class_listing(), re.MULTILINE)
    return f"The robot shall do this: {task.instruction}\n" in text and all(line in text for line in classes)


def test_the_default_task_is_recorded():
    if not list(shipped_records().glob("*.jsonl")):
        pytest.skip("no recorded answers are shipped")
    assert "reach" in recorded_tasks()


@pytest.mark.parametrize("task", recorded_tasks())
def test_recorded_answers_give_an_accepted_program(task):
    """The writer's part of `embodied train task=<task> llm=replay`, without the training."""
    from embodied.core.writer import WriterTools
    from embodied.llm.replay import ReplayChat
    from embodied.rewards.check import Checker
    from embodied.rewards.rollouts import record_rollouts
    from embodied.rewards.text2reward import Text2Reward
    from embodied.rl.writing import ROLLOUT_SEED, shipped_library

    made = make_task(task)
    checker = Checker(made.schema, record_rollouts(made, seed=ROLLOUT_SEED))
    (program,) = Text2Reward(WriterTools(ReplayChat, checker, shipped_library)).propose(made.description())
    assert checker(program).verdict == "accepted"
    assert program.provenance["came_by"]["source"] == "replay"
