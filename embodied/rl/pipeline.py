"""The main job: a sentence becomes reward code, a trained policy and a report (Text2Reward).

Write → check → try under the light lock → screen → train under the trainer lock → measure → report. Every stage
leaves its result in the run folder before the next begins, so that `resume` goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.chat import ChatModel
from embodied.core.errors import ConfigError, RewardCodeError, UnknownNameError
from embodied.core.files import read_json, write_json, write_text
from embodied.core.reward import RewardProgram
from embodied.core.runs import RunFolder
from embodied.core.writer import Check, Feedback, LibraryEntry, WriterTools
from embodied.llm.budget import Budget
from embodied.llm.record import Recorder
from embodied.rewards.check import Checker
from embodied.rewards.rollouts import Rollouts, record_rollouts
from embodied.rewards.text2reward import PROMPT_VERSION
from embodied.rl.evaluate import Evaluation, evaluate, random_actor
from embodied.rl.job import FINAL_SEED, SELECTION_SEED, Job, Listener, Trainer
from embodied.rl.policy import MLPPolicy
from embodied.rl.rounds import open_rounds, round_folder
from embodied.rl.tensorboard import Scalars
from embodied.sim.task import Task

ROLLOUT_SEED = 30_000_000
BASELINES = ("expert", "random")
Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a training led to.

    Attributes:
        evaluations: final success by row name (`written`, `expert`, `random`).
        policies: the chosen policies by job name.
        steps: the step of the chosen candidate by job name.
        wall_s: duration of the whole command [s].
    """

    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    policies: dict[str, MLPPolicy] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    wall_s: float = 0.0


@dataclass
class Pipeline:
    """One run of the main job.

    Args:
        config: the resolved configuration of `embodied train` (plain values).
        run: its run folder.
        say: told each stage in one sentence.
        listener: told each row of training progress.
        trusted_packages: packages that the user named on the command line.
        import_paths: folders where these packages lie.
    """

    config: Mapping[str, Any]
    run: RunFolder
    say: Say
    listener: Listener
    trusted_packages: tuple[str, ...] = ()
    import_paths: tuple[str, ...] = ()
    tools: WriterTools = field(init=False)

    def __post_init__(self) -> None:
        _check_numbers(self.config)
        unknown = set(self.config["baselines"]) - set(BASELINES)
        if unknown:
            raise ConfigError(f"baselines={sorted(unknown)} unknown; valid: {', '.join(BASELINES)}")
        self.tools = WriterTools(chat=lambda: self._chat, check=self._check, library=self._library)

    @cached_property
    def task(self) -> Task:
        """The task, with the sentence of the command line where one was given."""
        return make_task(self.task_config, self.trusted_packages)

    @property
    def task_config(self) -> dict[str, Any]:
        """The task's configuration."""
        given = self.config.get("instruction")
        return {**self.config["task"], **({"instruction": given} if given else {})}

    @cached_property
    def rounds(self) -> tuple[Feedback, ...]:
        """The feedback rounds that came before this program, oldest first."""
        return open_rounds(self.config, self.run, self.task.name)

    def program(self) -> tuple[RewardProgram, Check]:
        """Writes the reward, or reads what an interrupted run has written."""
        folder = round_folder(self.run, len(self.rounds))
        if (folder / "program.json").is_file():
            known = read_json(folder / "check.json")
            return RewardProgram.from_json(read_json(folder / "program.json")), Check(**known)
        writer = build(self.config["reward"], trusted_packages=self.trusted_packages, tools=self.tools)
        self.say(f"writing the reward for: {self.task.instruction}")
        try:
            program = writer.propose(self.task.description(), self.rounds, n=1)[0]
        finally:
            self._keep_attempts(folder)
        check = self._check(program)
        if check.verdict != "accepted":
            raise RewardCodeError(f"reward of writer '{program.writer}': {check.message}", check.line)
        program = program.with_evaluation(check.evaluation)
        write_text(folder / "program.py", program.source)
        write_json(folder / "check.json", check.to_json())
        write_json(folder / "program.json", program.to_json())
        self.run.event("reward", writer=program.writer, sha256=program.sha256, evaluation=program.evaluation)
        return program, check

    def train(self, program: RewardProgram) -> Outcome:
        """Trains with the written reward and, where asked, with the expert reward at the same budget."""
        begin = time.monotonic()
        evaluation = self.config["evaluation"]
        trainer = Trainer(
            self.task,
            seed=int(self.config["seed"]),
            selection_episodes=int(evaluation["selection_episodes"]),
            listener=self._listen,
            allow_missing=self.config["allow_missing_sandbox_layers"],
            packages=self.trusted_packages,
            import_paths=self.import_paths,
        )
        jobs = [self._job("written", program)]
        if "expert" in self.config["baselines"] and program.sha256 != self.task.expert_reward().sha256:
            jobs.append(self._job("expert", self.task.expert_reward()))
        self.say(f"training {' and '.join(j.name for j in jobs)}: {jobs[0].request['total_steps']:,} steps each")
        try:
            trainer.run(jobs)
        finally:
            self._scalars.close()
        outcome = Outcome()
        for job in jobs:
            policy, step = trainer.best(job)
            outcome.policies[job.name], outcome.steps[job.name] = policy, step
            outcome.evaluations[job.name] = trainer.report_success(policy, int(evaluation["episodes"]))
        if "random" in self.config["baselines"]:
            outcome.evaluations["random"] = evaluate(
                self.task,
                random_actor(self.task, 0),
                episodes=int(evaluation["episodes"]),
                seed=FINAL_SEED + int(self.config["seed"]),
            )
        outcome.policies["written"].save(self.run / "policy")
        outcome.wall_s = time.monotonic() - begin
        return outcome

    def _job(self, name: str, program: RewardProgram) -> Job:
        trainer, evaluation = self.config["trainer"], self.config["evaluation"]
        steps = int(trainer["total_steps"])
        request = {
            "task": self.task_config,
            "randomization": self.config.get("randomization"),
            "algorithm": trainer["algorithm"],
            "settings": trainer["settings"],
            "seed": int(self.config["seed"]),
            "n_envs": int(trainer["n_envs"]),
            "n_threads": int(self.config["n_threads"]),
            "total_steps": steps,
            "normalize_observations": trainer["normalize_observations"],
            "normalize_rewards": trainer["normalize_rewards"],
            "freeze_after": trainer["freeze_after"],
            "checkpoint_every_steps": int(self.config["checkpoint_every_steps"]),
            "policy_every_steps": max(1, steps // int(evaluation["candidates"])),
            "progress_every_steps": max(1, steps // 100),
            "trusted_packages": list(self.trusted_packages),
        }
        return Job(name, self.run / "checkpoints" / name, program, request)

    @cached_property
    def rollouts(self) -> Rollouts:
        """Known good and bad episodes, on which programs are tried and screened."""
        return record_rollouts(self.task, seed=ROLLOUT_SEED + int(self.config["seed"]))

    def _library(self) -> list[LibraryEntry]:
        """The shipped expert programs, and this task's own where it is a user's."""
        entries = shipped_library()
        if self.task.name not in {e.program.task for e in entries}:
            with suppress(ConfigError):  # a task need not have one
                entries.append(LibraryEntry(self.task.instruction, self.task.expert_reward()))
        return entries

    @cached_property
    def _scalars(self) -> Scalars:
        return Scalars(self.run / "tb")

    @cached_property
    def _chat(self) -> ChatModel:
        inner = build(self.config["llm"], trusted_packages=self.trusted_packages)
        return Recorder(Budget(inner, **self.config["budget"]), self.run / "llm", prompt_version=PROMPT_VERSION)

    def _check(self, program: RewardProgram) -> Check:
        checker = Checker(self.task.schema, self.rollouts, allow_missing=self.config["allow_missing_sandbox_layers"])
        return checker(program)

    def _keep_attempts(self, folder: Path) -> None:
        """Prompt, answers and verdicts, for the report and for whoever asks later."""
        for number, attempt in enumerate(self.tools.attempts):
            suffix = "" if number == 0 else f"_{number}"
            prompt = "\n\n".join(f"## {m.role}\n\n{m.content}" for m in attempt.messages)
            write_text(folder / f"prompt{suffix}.md", prompt + "\n")
            write_text(folder / f"answer{suffix}.md", attempt.completion.text)
            write_json(folder / f"attempt{suffix}.json", attempt.check.to_json())

    def _listen(self, job: str, row: Mapping[str, Any]) -> None:
        if row.get("kind") in ("progress", "evaluation"):
            self.run.metric({"job": job, **row})
            self._scalars.add(job, row)
        else:
            self.run.event(f"training_{row.get('kind')}", job=job, **{k: v for k, v in row.items() if k != "kind"})
        self.listener(job, row)


def _check_numbers(config: Mapping[str, Any]) -> None:
    """Numbers that would otherwise show as wrong only after a language model has been paid."""
    counts = {
        "trainer.total_steps": config["trainer"]["total_steps"],
        "trainer.n_envs": config["trainer"]["n_envs"],
        "checkpoint_every_steps": config["checkpoint_every_steps"],
        **{f"evaluation.{key}": config["evaluation"][key] for key in ("episodes", "selection_episodes", "candidates")},
    }
    for key, value in counts.items():
        if int(value) < 1:
            raise ConfigError(f"{key}={value} must be at least 1")
    if not 0 <= int(config["seed"]) < SELECTION_SEED:  # evaluation's starts must be other ones than training's
        raise ConfigError(f"seed={config['seed']} must lie between 0 and {SELECTION_SEED - 1}")


def result_of(pipeline: Pipeline, program: RewardProgram, outcome: Outcome) -> dict[str, Any]:
    """What `result.json` holds."""
    config = pipeline.config
    return {
        "task": pipeline.task.name,
        "instruction": pipeline.task.instruction,
        "reward": {"writer": program.writer, "sha256": program.sha256, "evaluation": program.evaluation},
        "round": len(pipeline.rounds),
        "trainer": config["trainer"]["algorithm"],
        "seed": config["seed"],
        "steps": config["trainer"]["total_steps"],
        "chosen_step": outcome.steps["written"],
        "success": outcome.evaluations["written"].to_json(),
        "baselines": {k: v.to_json() for k, v in outcome.evaluations.items() if k != "written"},
        "wall_s": round(outcome.wall_s, 1),
        "policy": "policy",
        "report": "report.html",
    }


def make_task(config: Mapping[str, Any] | str, trusted_packages: tuple[str, ...] = (), **changes: Any) -> Task:
    """Builds a task from its configuration, or from the name of a shipped one."""
    if isinstance(config, str):
        path = conf_dir() / "task" / f"{config}.yaml"
        if not path.is_file():
            raise UnknownNameError("task", config, shipped_tasks())
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    task = build({**config, **changes}, trusted_packages=trusted_packages)
    if not isinstance(task, Task):
        raise ConfigError(f"_target_ '{config['_target_']}' is not a task")
    return task


def shipped_tasks() -> list[str]:
    """Names of all shipped tasks; those of a suite stand in its folder: `metaworld/drawer-open`."""
    folder = conf_dir() / "task"
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def shipped_library() -> list[LibraryEntry]:
    """The expert reward of every shipped task."""
    entries = []
    for name in shipped_tasks():
        task = make_task(name)
        entries.append(LibraryEntry(task.instruction, task.expert_reward()))
    return entries
