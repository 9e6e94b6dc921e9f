"""Composition: real keys, real options, real types, no secrets; errors that say what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.commands import completion, compose, sweep
from embodied.commands.checks import looks_secret
from embodied.core.errors import ConfigError

ROOT = """
defaults:
  - task: ant
  - llm: replay
  - trainer: ppo
  - _self_
seed: 0
steps: 1000
rate: 0.5
flag: false
name: null
runs_dir: runs
tasks: [a, b]
label: ${task.instruction}
"""
FILES = {
    "train.yaml": ROOT,
    "watch.yaml": "task: null\nrun: null\n",
    "task/ant.yaml": "instruction: Run.\nn_legs: 4\n",
    "task/hopper.yaml": "instruction: Hop.\nn_legs: 1\n",
    "llm/replay.yaml": "folder: null\n",
    "llm/openai.yaml": "model: ???\napi_key_env: OPENAI_API_KEY\nmax_tokens: 10\n",
    "trainer/ppo.yaml": "settings: {gamma: 0.9, n_steps: 32, net_arch: [64, 64]}\n",
    "launcher/local.yaml": "_target_: embodied.commands.launchers.Local\n",
    "launcher/joblib.yaml": "_target_: embodied.commands.launchers.Joblib\nn_jobs: 2\n",
}


@pytest.fixture(autouse=True)
def conf(tmp_path, monkeypatch) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for module in (completion, compose, sweep):
        monkeypatch.setattr(module, "conf_dir", lambda: tmp_path / "conf")
    monkeypatch.delenv("EMBODIED_CONF", raising=False)
    return tmp_path / "conf"


@pytest.fixture
def user_folder(tmp_path) -> Path:
    (tmp_path / "mine" / "task").mkdir(parents=True)
    (tmp_path / "mine" / "task" / "crab.yaml").write_text("instruction: Sidle.\nn_legs: 8\n")
    return tmp_path / "mine"


def composed(*overrides: str, root: str = "train") -> dict:
    return compose.compose_config(root, overrides).config


def test_plain_and_resolved():
    config = composed("task=hopper", "trainer.settings.gamma=0.99", "tasks=[c]")
    assert config["label"] == "Hop."
    assert config["trainer"]["settings"] == {"gamma": 0.99, "n_steps": 32, "net_arch": [64, 64]}
    assert type(config["trainer"]["settings"]) is dict
    assert config["tasks"] == ["c"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("task=hoper", ["unknown task 'hoper'", "Did you mean 'hopper'", "ant, hopper"]),
        ("tsk=ant", ["'tsk'", "Did you mean 'task'"]),
        ("stps=3", ["'stps'", "Did you mean 'steps'"]),
        ("trainer.settings.gama=1", ["'gama'", "trainer.settings", "Did you mean 'gamma'"]),
        ("task.n_legs.x=1", ["'task.n_legs' is 4"]),
        ("steps=many", ["'steps' must be a whole number", "1000", "'many'"]),
        ("steps=1.5", ["'steps' must be a whole number", "1.5"]),
        ("steps=true", ["'steps' must be a whole number", "True"]),
        ("rate=fast", ["'rate' must be a number"]),
        ("rate=false", ["'rate' must be a number", "False"]),
        ("flag=1", ["'flag' must be true or false"]),
        ("tasks=a", ["'tasks' must be a list"]),
        ("seed", ["cannot read 'seed'", "key=value"]),
        ("seed=[1", ["cannot read"]),
        ("seed=1,2", ["-m"]),
        ("task=ant,hopper", ["-m"]),
        ("seed=${nowhere}", ["'seed'", "nowhere"]),
        ("llm=openai", ["llm.model=<value>"]),
        ("searchpath=[/nowhere]", ["/nowhere", "not a folder"]),
        ("trusted_packages=[os.path]", ["os.path", "top-level"]),
    ],
)
def test_mistakes_are_answered(override, words):
    with pytest.raises(ConfigError) as caught:
        composed(override)
    for word in words:
        assert word in str(caught.value)


def test_whole_numbers_may_be_written_as_powers():
    assert composed("steps=1e6")["steps"] == 1_000_000
    assert type(composed("steps=1e6")["steps"]) is int


@pytest.mark.parametrize(
    "override",
    [
        "+llm.api_key=abcdef", "+llm.key=12345", "+password=x", "+hub.token='t'", "name=sk-abcdefghijklmnopqrstuv",
        "name=${oc.env:MY_SECRET}", "llm.api_key=abc", "++my-token=abc",
    ],
)  # fmt: skip
def test_secrets_are_refused_and_not_repeated(override):
    with pytest.raises(ConfigError, match="secret") as caught:
        composed(override)
    value = override.partition("=")[2]
    assert value not in str(caught.value)


def test_a_secret_in_a_yaml_is_refused(conf):
    (conf / "llm" / "bad.yaml").write_text("nested:\n  - api_key: hunter2\n")
    with pytest.raises(ConfigError, match=r"llm.nested\[0\].api_key") as caught:
        composed("llm=bad")
    assert "hunter2" not in str(caught.value)


def test_names_of_variables_and_counts_are_no_secrets():
    config = composed("llm=openai", "llm.model=m", "llm.api_key_env=OTHER_KEY", "llm.max_tokens=20")
    assert config["llm"]["api_key_env"] == "OTHER_KEY"
    assert not looks_secret("eos_token")
    assert not looks_secret("llm.max_tokens_field")
    assert not looks_secret("keyframe")
    assert looks_secret("wandb.apiKey".lower())


def test_a_users_folder(user_folder, monkeypatch):
    found = compose.compose_config("train", ["task=crab", f"searchpath=[{user_folder}]", "trusted_packages=[crab]"])
    assert found.config["label"] == "Sidle."
    assert found.trusted_packages == ("crab",)
    assert found.searchpath == (str(user_folder),)
    assert "searchpath" not in found.config
    assert "trusted_packages" not in found.yaml
    monkeypatch.setenv("EMBODIED_CONF", str(user_folder))
    assert composed("task=crab")["task"]["n_legs"] == 8


def test_a_users_yaml_never_loses_silently_to_a_shipped_one(user_folder):
    (user_folder / "task" / "ant.yaml").write_text("instruction: Mine.\n")
    with pytest.raises(ConfigError, match="rename yours"):
        composed(f"searchpath=[{user_folder}]")


def test_a_group_that_the_root_holds_as_null():
    assert composed("task=hopper", root="watch")["task"]["instruction"] == "Hop."
    assert composed(root="watch")["task"] is None
    with pytest.raises(ConfigError, match="takes no 'llm='"):
        composed("llm=replay", root="watch")


def test_no_change_of_folder_or_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "conf")
    before = sorted(Path().rglob("*"))
    composed("seed=3")
    assert sorted(Path().rglob("*")) == before


def test_cfg_job_prints_and_runs_nothing(capsys):
    code = compose.run_composed("train", ["seed=5", "--cfg", "job"], lambda _: pytest.fail("ran"))
    assert code == 0
    assert "seed: 5" in capsys.readouterr().out


def test_runs_with_what_was_composed():
    seen = []
    assert compose.run_composed("train", ["seed=5"], lambda found: seen.append(found) or 7) == 7
    assert seen[0].config["seed"] == 5
    assert seen[0].overrides == ["seed=5"]


@pytest.mark.parametrize("words", [["--config", "job"], ["--cfg", "all"], ["launcher=joblib"]])
def test_wrong_flags(words):
    with pytest.raises(ConfigError):
        compose.run_composed("train", words, lambda _: 0)


def test_jobs_of_a_sweep():
    jobs, swept = sweep.split_jobs(["seed=range(3)", "task=ant,hopper", "steps=5", "trusted_packages=[a,b]"])
    assert len(jobs) == 6
    assert swept == {"seed", "task"}
    assert all(job[-1] == "trusted_packages=[a,b]" and "steps=5" in job for job in jobs)
    assert {job[0] for job in jobs} == {"seed=0", "seed=1", "seed=2"}


def test_a_sweep_over_everything_in_a_group():
    jobs, _ = sweep.split_jobs(["task=glob(*)"])
    assert sorted(job[0] for job in jobs) == ["task=ant", "task=hopper"]


def test_a_misspelt_job_stops_the_sweep_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="hoper"):
        compose.run_composed("train", ["-m", "task=ant,hoper"], lambda _: pytest.fail("ran"))
    with pytest.raises(ConfigError, match="no key has several values"):
        compose.run_composed("train", ["-m", "seed=1"], lambda _: pytest.fail("ran"))
    with pytest.raises(ConfigError, match="unknown launcher 'slurm'"):
        compose.run_composed("train", ["-m", "seed=1,2", "launcher=slurm"], lambda _: pytest.fail("ran"))
    assert not (tmp_path / "runs").exists()


def test_a_resumed_run_keeps_what_it_must(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 1\nsteps: 10\nevaluation: {episodes: 5}\n")
    config = compose.load_run_config(tmp_path)
    changed = compose.change_run_config(
        config, ["steps=20", "evaluation.episodes=9", "resume=x"], ("steps", "evaluation")
    )
    assert changed == {"seed": 1, "steps": 20, "evaluation": {"episodes": 9}}
    with pytest.raises(ConfigError, match="these can change: steps"):
        compose.change_run_config(config, ["seed=2"], ("steps",))
    with pytest.raises(ConfigError, match="not a run folder"):
        compose.load_run_config(tmp_path / "nowhere")


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), min_size=1))
def test_sentences_need_no_quotes_of_their_own(text):
    sentence = f"Say {text}".replace("$", "S")  # "${...}" stays Hydra's
    (parsed,) = compose.parse_overrides([compose.quoted_sentence(f"feedback={sentence}")])
    assert parsed.value() == sentence
    assert not parsed.is_sweep_override()


def test_quoted_sentences_are_left_alone():
    assert compose.quoted_sentence("instruction='Push it, then stop'") == "instruction='Push it, then stop'"
    assert compose.quoted_sentence("name=a b") == "name=a b"
