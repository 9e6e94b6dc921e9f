"""Language to Rewards for Robotic Skill Synthesis (Yu et al. 2023, arXiv:2306.08647).

A motion descriptor fills a template for the robot's morphology; a reward coder turns the description into calls of a
motion API; the calls become the terms of a `RewardProgram`. The descriptor sees the whole conversation, the coder one
description.

Deviations: faults (an unfilled slot, two targets that exclude each other, an unknown foot, a missing `execute_plan`)
go back to the model as text, a bounded number of times, where the release retries for ever and says nothing; scripts
run under a lock; the terms are an ordinary reward program, so they also train a policy or score a dataset.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from embodied.core.assets import data_file
from embodied.core.chat import ChatModel, Message, request_sha256
from embodied.core.errors import ConfigError, RewardCodeError, UnknownNameError
from embodied.core.reward import RewardProgram
from embodied.core.writer import Check, Feedback, TaskDescription, WriterTools
from embodied.llm.extract import extract_code
from embodied.rewards.motion_code import motion_of, run_motion_code

PROMPT_VERSION = "language_to_rewards_v1"
APIS = {"motion": "", "skills": "_skills"}
START, END = "[start of description]", "[end of description]"
_SLOT = re.compile(r"\b(NUM|CHOICE)\b")


@dataclass
class Turn:
    """One instruction of a conversation and what it led to.

    Attributes:
        instruction: what the person said.
        description: the descriptor's filled template; empty for coder-only.
        code: the coder's script.
        program: the program that runs.
        repairs: how many answers were sent back.
    """

    instruction: str
    description: str
    code: str
    program: RewardProgram
    repairs: int


@dataclass
class Conversation:
    """The talk with one robot: instructions and corrections, in order.

    Args:
        chat: the language model.
        morphology: `quadruped` or `manipulator`.
        task: the task's name, for the programs.
        coder_only: leave out the descriptor (the paper's ablation).
        max_repairs: how often one answer is sent back.
        temperature: sampling temperature.
        run: runs a script: `(source, morphology, title=...) -> program source`.
    """

    chat: ChatModel
    morphology: str
    task: str
    coder_only: bool = False
    max_repairs: int = 3
    temperature: float = 0.0
    run: Callable[..., str] = run_motion_code
    turns: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        motion_of(self.morphology)  # refuses an unknown one
        if self.max_repairs < 0:
            raise ConfigError(f"max_repairs={self.max_repairs} must not be negative")

    def say(self, instruction: str) -> Turn:
        """One more instruction; earlier ones stay in force as the model understands them.

        Raises:
            RewardCodeError: no answer could be made to work; the conversation is as before.
            ChatModelError: the language model gave no answer.
        """
        description, described = ("", 0) if self.coder_only else self._describe(instruction)
        code, source, coded = self._code(instruction, description)
        provenance = {
            "model": self._model,
            "prompt_version": PROMPT_VERSION,
            "prompt_sha256": self._prompt_sha256,
            "instruction": instruction,
            "round": len(self.turns),
            "repairs": described + coded,
            "coder_only": self.coder_only,
            "description": description,
            "code": code,
        }
        program = RewardProgram(
            source, "language_to_rewards", self.task, evaluation="batched", provenance=provenance
        )
        self.turns.append(Turn(instruction, description, code, program, described + coded))
        return self.turns[-1]

    def undo(self) -> Turn | None:
        """Takes the last instruction back; gives the turn that holds now, None at the beginning."""
        if self.turns:
            self.turns.pop()
        return self.turns[-1] if self.turns else None

    def _describe(self, instruction: str) -> tuple[str, int]:
        messages = [Message("system", prompt(f"{self.morphology}_descriptor"))]
        for turn in self.turns:
            messages += [Message("user", turn.instruction), Message("assistant", turn.description)]
        messages.append(Message("user", instruction))
        return self._settle(messages, check_description)

    def _code(self, instruction: str, description: str) -> tuple[str, str, int]:
        coder = prompt(f"{self.morphology}_coder")
        if self.coder_only:
            messages = [Message("system", f"{prompt(f'{self.morphology}_coder_only')}\n\n{_rules(coder)}")]
            for turn in self.turns:
                messages += [Message("user", turn.instruction), Message("assistant", f"```python\n{turn.code}\n```")]
            messages.append(Message("user", instruction))
        else:
            messages = [Message("system", coder), Message("user", description)]
        found: dict[str, str] = {}

        def check(text: str, finish_reason: str) -> str:
            code = extract_code(text, finish_reason=finish_reason)
            found["source"] = self.run(code, self.morphology, title=_one_line(instruction))
            return code

        code, repairs = self._settle(messages, check)
        return code, found["source"], repairs

    def _settle(self, messages: list[Message], check: Callable[[str, str], str]) -> tuple[str, int]:
        """Asks until `check` takes the answer; faults go back, `max_repairs` times at most."""
        for repair in range(self.max_repairs + 1):
            completion = self.chat.complete(messages, n=1, temperature=self.temperature)[0]
            self._model = completion.model
            self._prompt_sha256 = request_sha256(messages, 1, self.temperature)
            try:
                return check(completion.text, completion.finish_reason), repair
            except RewardCodeError as error:
                fault = error
            text = f"line {fault.line}: {fault.message}" if fault.line is not None else fault.message
            request = prompt("fault").replace("{error}", text)
            messages = [*messages, Message("assistant", completion.text), Message("user", request)]
        count = self.max_repairs + 1
        raise RewardCodeError(f"no working answer after {count}; last fault: {fault.message}", fault.line)


class LanguageToRewards:
    """The writer.

    Args:
        tools: language model and checker.
        api: `motion`, or `skills` for the baseline of ready-made skills (always without the descriptor).
        coder_only: leave out the motion descriptor.
        max_repairs: how often one answer is sent back.
        temperature: sampling temperature.
    """

    prompt_version = PROMPT_VERSION

    def __init__(
        self,
        tools: WriterTools,
        *,
        api: str = "motion",
        coder_only: bool = False,
        max_repairs: int = 3,
        temperature: float = 0.0,
    ) -> None:
        if api not in APIS:
            raise UnknownNameError("api", api, APIS, "Language to Rewards")
        self.tools, self.api, self.coder_only = tools, api, coder_only or api == "skills"
        self.max_repairs, self.temperature = max_repairs, temperature

    def propose(
        self, description: TaskDescription, feedback_history: Sequence[Feedback] = (), n: int = 1
    ) -> list[RewardProgram]:
        """Writes one program; earlier rounds are corrections of one conversation.

        Raises:
            ConfigError: the task's robot has no motion API, or several programs are asked for.
            RewardCodeError: no answer could be made to work, or the program fails on the task's states.
        """
        if n != 1:
            raise ConfigError(f"Language to Rewards writes one program at a time, not {n}")
        if not description.morphology:
            raise ConfigError(f"task '{description.name}' has no motion API; use reward=text2reward")
        talk = Conversation(
            self.tools.chat(),
            description.morphology + APIS[self.api],
            description.name,
            coder_only=self.coder_only,
            max_repairs=self.max_repairs,
            temperature=self.temperature,
        )
        talk.turns = [_turn_of(round_.program) for round_ in feedback_history]
        turn = talk.say(feedback_history[-1].request if feedback_history else description.instruction)
        check: Check = self.tools.check(turn.program)
        if check.verdict != "accepted":
            raise RewardCodeError(check.message, check.line)
        return [turn.program.with_evaluation(check.evaluation)]


def _turn_of(program: RewardProgram) -> Turn:
    """The turn that an earlier program came from."""
    came = program.provenance
    if program.writer != "language_to_rewards":
        raise ConfigError(f"the earlier program is of writer '{program.writer}'; corrections need one of this writer")
    return Turn(str(came["instruction"]), str(came["description"]), str(came["code"]), program, 0)


def check_description(text: str, finish_reason: str) -> str:
    """The filled template, from its first to its last line.

    Raises:
        RewardCodeError: it is cut off, missing, or a slot is unfilled.
    """
    if finish_reason == "length":
        raise RewardCodeError("the answer was cut off before its end: write a shorter one")
    if START not in text or END not in text:
        raise RewardCodeError(f"the description must stand between the lines '{START}' and '{END}'")
    body = START + text.partition(START)[2].partition(END)[0] + END
    for number, line in enumerate(body.splitlines(), 1):
        slot = _SLOT.search(line)
        if slot:
            raise RewardCodeError(f"the slot {slot.group()} is not filled in '{line.strip()[:100]}'", number)
        if line.strip().startswith("[") and line.strip() not in (START, END):
            raise RewardCodeError(f"an optional line is written without its brackets: '{line.strip()[:100]}'", number)
    return body


def prompt(name: str) -> str:
    """A frozen prompt file."""
    return data_file("rewards", "prompts", PROMPT_VERSION, f"{name}.md").read_text(encoding="utf-8").strip()


def _rules(coder: str) -> str:
    """The coder's functions and rules, without its first sentence and the rule about the description."""
    functions = coder[coder.index("Use only these functions") :]
    return functions[: functions.rindex("\n4. ")]


def _one_line(text: str) -> str:
    return " ".join(text.replace("\\", " ").replace('"', "'").split())[:200]
