"""The first half of every job that begins with a sentence: a reward program, written, checked, kept in the run folder.

What follows (training, planning) never asks which writer it was.
"""

from __future__ import annotations

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
from embodied.core.writer import Check, Feedback, LibraryEntry, RewardWriter, WriterTools
from embodied.llm.budget import Budget
from embodied.llm.record import Recorder
from embodied.rewards.check import Checker
from embodied.rewards.rollouts import Rollouts, record_rollouts
from embodied.rl.rounds import open_rounds, round_folder
from embodied.sim.building import build_task
from embodied.sim.task import Task

ROLLOUT_SEED = 30_000_000
Say = Callable[[str], None]


@dataclass
class Writing:
    """Task and reward program of one run.

    Args:
        config: the resolved configuration of the command (plain values): `task`, `reward`, `llm`, `budget`, `seed`,
            `allow_missing_sandbox_layers`, and where given `instruction`, `parent`, `feedback`, `observed`.
        run: its run folder.
        say: told each stage in one sentence.
        trusted_packages: packages that the user named on the command line.
        import_paths: folders where these packages lie.
    """

    config: Mapping[str, Any]
    run: RunFolder
    say: Say
    trusted_packages: tuple[str, ...] = ()
    import_paths: tuple[str, ...] = ()
    tools: WriterTools = field(init=False)

    def __post_init__(self) -> None:
        self.tools = WriterTools(chat=lambda: self._chat, check=self.check, library=self._library)

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
        self.say(f"writing the reward for: {self.task.instruction}")
        try:
            program = self.writer.propose(self.task.description(), self.rounds, n=1)[0]
        finally:
            self._keep_attempts(folder)
        check = self.check(program)
        if check.verdict != "accepted":
            raise RewardCodeError(f"reward of writer '{program.writer}': {check.message}", check.line)
        program = program.with_evaluation(check.evaluation)
        write_text(folder / "program.py", program.source)
        write_json(folder / "check.json", check.to_json())
        write_json(folder / "program.json", program.to_json())
        self.run.event("reward", writer=program.writer, sha256=program.sha256, evaluation=program.evaluation)
        return program, check

    @cached_property
    def writer(self) -> RewardWriter:
        """The reward writer."""
        return build(self.config["reward"], trusted_packages=self.trusted_packages, tools=self.tools)

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
    def _chat(self) -> ChatModel:
        inner = build(self.config["llm"], trusted_packages=self.trusted_packages)
        version = getattr(self.writer, "prompt_version", "")
        return Recorder(Budget(inner, **self.config["budget"]), self.run / "llm", prompt_version=version)

    def check(self, program: RewardProgram) -> Check:
        """The verdict on a program, tried on the task's rollouts under a lock."""
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


def make_task(config: Mapping[str, Any] | str, trusted_packages: tuple[str, ...] = (), **changes: Any) -> Task:
    """Builds a task from its configuration, or from the name of a shipped one."""
    return build_task(task_configuration(config), trusted_packages=trusted_packages, **changes)


def task_configuration(config: Mapping[str, Any] | str) -> Mapping[str, Any]:
    """A task's configuration, given it or the name of a shipped task."""
    if not isinstance(config, str):
        return config
    path = conf_dir() / "task" / f"{config}.yaml"
    if not path.is_file():
        raise UnknownNameError("task", config, shipped_tasks())
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def shipped_tasks() -> list[str]:
    """Names of all shipped tasks; those of a suite stand in its folder: `metaworld/drawer-open`."""
    folder = conf_dir() / "task"
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def shipped_library() -> list[LibraryEntry]:
    """The expert reward of every shipped task, once where several configurations start the same one differently."""
    tasks = {task.name: task for task in map(make_task, reversed(shipped_tasks()))}
    return [LibraryEntry(tasks[name].instruction, tasks[name].expert_reward()) for name in sorted(tasks)]
