"""A speaker by rule in place of a language model: "height 0.2" and "heading 1.5" become descriptions and code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embodied.core.chat import Completion, Message
from embodied.core.reward import RewardProgram
from embodied.core.runs import RunFolder
from embodied.core.writer import Check, WriterTools
from embodied.rewards.language_to_rewards import END, START, LanguageToRewards
from embodied.sessions.talk.pool import PlannerPool
from embodied.sessions.talk.session import TalkSession
from embodied.sessions.talk.stage import Stage

TASK_CONFIG = {
    "_target_": "embodied.sim.quadruped.tasks.sit_down.SitDown", "instruction": "Sit down.", "episode_steps": 300,
    "aliases": {},
}  # fmt: skip
SAMPLER = {"_target_": "embodied.control.mppi.MPPI", "noise": 0.2, "temperature": 0.15}
PLANNING = {"n_samples": 8, "horizon_s": 0.2, "n_knots": 3, "n_threads": 0}


def number(text: str, word: str, usual: float) -> float:
    found = re.findall(rf"{word} (-?[\d.]+)", text)
    return float(found[-1].rstrip(".")) if found else usual


def reply(messages: Sequence[dict | Message]) -> str:
    """The answer to one request: a description for the descriptor, code for the coder."""
    contents = [m["content"] if isinstance(m, dict) else m.content for m in messages]
    said = contents[-1]
    if "translate the description" in contents[0]:
        return (
            f"```python\nreset_reward()\nset_torso_targets({number(said, 'height', 0.26)}, 0, 0, (0, 0), None,"
            f" {number(said, 'heading', 0.0)}, None)\nexecute_plan()\n```"
        )
    if any("nonsense" in content for content in contents[1:]):
        return "I would rather not."
    before = contents[-2] if len(contents) > 2 else ""
    height = number(said, "height", number(before, "height", 0.26))
    heading = number(said, "heading", number(before, "heading", 0.0))
    return f"{START}\n* height {height}\n* heading {heading}\n{END}"


@dataclass
class Speaker:
    """The rule as a chat model."""

    asked: list[list[Message]] = field(default_factory=list)

    def complete(
        self, messages: Sequence[Message], n: int = 1, temperature: float = 0.0, max_tokens: int = 4096
    ) -> list[Completion]:
        self.asked.append(list(messages))
        return [Completion(reply(messages), "rule")]


def run_folder(path: Path) -> RunFolder:
    folder = RunFolder.create(path, "talk")
    folder.start("{}\n", [], {})
    return folder


def writer(chat: Speaker | None = None, **settings) -> LanguageToRewards:
    chat = chat or Speaker()
    tools = WriterTools(lambda: chat, lambda program: Check("accepted", evaluation="batched"), lambda: [])
    return LanguageToRewards(tools, max_repairs=1, **settings)


def make_pool(task, **planning) -> PlannerPool:
    from embodied.control.locked import LockedPlanner

    settings = {**PLANNING, **planning}
    return PlannerPool(lambda: LockedPlanner(task, TASK_CONFIG, None, SAMPLER, settings))


def session(folder: RunFolder, stage: Stage, chat: Speaker | None = None) -> TalkSession:
    return TalkSession(folder, stage, stage.task.description(), writer(chat), seed=0)


def program(height: float) -> RewardProgram:
    from embodied.rewards.quadruped_motion import QuadrupedMotion

    motion = QuadrupedMotion()
    motion.set_torso_targets(height, 0, 0, (0, 0), None, 0, None)
    motion.execute_plan()
    return RewardProgram(motion.source(), "test", "quadruped/sit_down", evaluation="batched")
