"""A chat model that gives prepared answers, and a small world for reward writers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from embodied.core.chat import Completion, Message
from embodied.core.quantities import Quantity, Schema
from embodied.core.writer import TaskDescription

SCHEMA = Schema.of(
    [
        Quantity("gripper.position", (3,), "m", "world", "grasp point between the jaw tips"),
        Quantity("cube.position", (3,), "m", "world", "centre of the cube"),
        Quantity("cube.lifted", (), "bool", "-", "1 where the cube is off the table"),
    ],
    {"robot.ee_position": "gripper.position"},
)
DESCRIPTION = TaskDescription(
    name="toy",
    instruction="Lift the cube.",
    schema=SCHEMA,
    action_size=4,
    action_description="gripper velocity and jaw",
    control_dt_s=0.05,
    episode_steps=80,
)


@dataclass
class Scripted:
    """Answers one after the other; the last one stays. Asking more often than `limit` is an error."""

    answers: list[str | Completion]
    limit: int = 20
    asked: list[list[Message]] = field(default_factory=list)

    def complete(
        self, messages: Sequence[Message], n: int = 1, temperature: float = 0.0, max_tokens: int = 4096
    ) -> list[Completion]:
        found = []
        for _ in range(n):
            self.asked.append(list(messages))
            assert len(self.asked) <= self.limit, "asked without end"
            answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
            found.append(answer if isinstance(answer, Completion) else Completion(answer, "scripted-model"))
        return found


def fenced(source: str) -> str:
    """An answer as a model gives it."""
    return f"Plan: come closer.\n\n```python\n{source}```\n"
