"""Text2Reward: Reward Shaping with Language Models for Reinforcement Learning (Xie et al. 2024, arXiv:2309.11489).

A language model is shown the world as a listing of typed classes and writes dense reward code; faults found by
checking and running the code go back to it as text; after training, a person's feedback asks for a better one.

Deviations from the paper: the listing is generated from the task's quantities and the names are real attributes
(no string replacement); the program is batched and returns named terms; faults really are fed back, a bounded
number of times; few-shot examples are retrieved by a local sentence embedding; generated code is checked against
an allow-list and runs only under a lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embodied.core.assets import data_file
from embodied.core.chat import Completion, Message, request_sha256
from embodied.core.errors import ConfigError, RewardCodeError
from embodied.core.reward import RewardProgram
from embodied.core.writer import Check, Feedback, TaskDescription, WriterTools, suite
from embodied.llm.embed import nearest
from embodied.llm.extract import extract_code

PROMPT_VERSION = "text2reward_v1"


@dataclass
class Attempt:
    """One answer of the model and what became of it (kept for the report)."""

    messages: list[Message]
    completion: Completion
    source: str
    check: Check


class Text2Reward:
    """The writer.

    Args:
        tools: language model, checker and library.
        max_repairs: how often faults are sent back for one program.
        few_shot: how many expert programs of other tasks, nearest by instruction, are shown.
        temperature: sampling temperature; several different programs need one above 0.
    """

    prompt_version = PROMPT_VERSION

    def __init__(
        self, tools: WriterTools, *, max_repairs: int = 3, few_shot: int = 0, temperature: float = 0.0
    ) -> None:
        if max_repairs < 0 or few_shot < 0:
            raise ConfigError(f"max_repairs={max_repairs} and few_shot={few_shot} must not be negative")
        self.tools, self.max_repairs, self.few_shot, self.temperature = tools, max_repairs, few_shot, temperature

    def propose(
        self, description: TaskDescription, feedback_history: Sequence[Feedback] = (), n: int = 1
    ) -> list[RewardProgram]:
        """Writes n programs; each is checked and, if need be, repaired.

        Raises:
            RewardCodeError: no answer could be made to work; the text is the last fault.
            ChatModelError: the language model gave no answer.
        """
        messages = self.prompt(description, feedback_history)
        found: list[RewardProgram] = []
        failure: RewardCodeError | None = None
        for completion in self.tools.chat().complete(messages, n=n, temperature=self.temperature):
            try:
                found.append(self._settle(description, list(messages), completion, len(feedback_history)))
            except RewardCodeError as error:
                failure = error
        if not found:
            raise failure or RewardCodeError("the language model gave no answer")
        return found

    def prompt(self, description: TaskDescription, feedback_history: Sequence[Feedback] = ()) -> list[Message]:
        """The exact messages of the first request."""
        examples = ""
        if self.few_shot:
            known = [e for e in self.tools.library() if e.suite == suite(description.name)]
            others = [e for e in known if e.program.task != description.name]
            for index, _ in nearest(description.instruction, [e.instruction for e in others])[: self.few_shot]:
                entry = others[index]
                examples += render("example", instruction=entry.instruction, source=entry.program.source.strip())
        user = render(
            "user",
            instruction=description.instruction,
            class_listing=description.schema.class_listing(),
            action_size=description.action_size,
            action_description=description.action_description,
            control_dt_s=description.control_dt_s,
            episode_steps=description.episode_steps,
            examples=examples,
        )
        messages = [Message("system", render("system").strip()), Message("user", user)]
        for round_ in feedback_history:
            messages.append(Message("assistant", f"```python\n{round_.program.source.strip()}\n```"))
            messages.append(Message("user", render("feedback", description=round_.description, request=round_.request)))
        return messages

    def _settle(
        self, description: TaskDescription, messages: list[Message], completion: Completion, round_: int
    ) -> RewardProgram:
        """Checks an answer and sends faults back until it works, `max_repairs` times at most."""
        seen: set[str] = set()
        fallback: RewardProgram | None = None
        for repair in range(self.max_repairs + 1):
            program, check = self._try(description, messages, completion, repair, round_)
            if program is not None and check.verdict == "accepted":
                if not check.note:
                    return program.with_evaluation(check.evaluation)
                fallback = fallback or program.with_evaluation(check.evaluation)
            repeated = program is not None and program.sha256 in seen
            if repair == self.max_repairs or repeated:
                break
            if program is not None:
                seen.add(program.sha256)
            fault = check.note or check.located_message
            repair_request = Message("user", render("repair", error=fault))
            messages = [*messages, Message("assistant", completion.text), repair_request]
            completion = self.tools.chat().complete(messages, n=1, temperature=self.temperature)[0]
        if fallback is not None:
            return fallback
        raise RewardCodeError(
            f"no working reward program after {len(self.tools.attempts)} answer(s) of {completion.model};"
            f" last fault: {check.located_message}",
            check.line,
        )

    def _try(
        self, description: TaskDescription, messages: list[Message], completion: Completion, repair: int, round_: int
    ) -> tuple[RewardProgram | None, Check]:
        try:
            source = extract_code(completion.text, finish_reason=completion.finish_reason)
        except RewardCodeError as error:
            check = Check("rejected_static", error.message, error.line)
            self.tools.attempts.append(Attempt(messages, completion, "", check))
            return None, check
        provenance: dict[str, Any] = {
            "model": completion.model,
            "prompt_version": PROMPT_VERSION,
            "prompt_sha256": request_sha256(messages, 1, self.temperature),
            "finish_reason": completion.finish_reason,
            "came_by": dict(completion.provenance),
            "repairs": repair,
            "round": round_,
            "few_shot": self.few_shot,
            "instruction": description.instruction,
        }
        program = RewardProgram(source, "text2reward", description.name, provenance=provenance)
        attempt = Attempt(messages, completion, source, Check("not_checked"))
        self.tools.attempts.append(attempt)  # first: an answer that was paid for outlives a fault of the check
        attempt.check = self.tools.check(program)
        return program, attempt.check


def render(name: str, **values: Any) -> str:
    """Fills a frozen prompt file; only the named slots are replaced, other braces stay as they are."""
    text = data_file("rewards", "prompts", PROMPT_VERSION, f"{name}.md").read_text(encoding="utf-8")
    for key, value in values.items():
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        text = text.replace("{" + key + ":g}", shown).replace("{" + key + "}", shown)
    return text
