"""From a program's text to a verdict: static check, then a try under the light lock, then the screen.

Verdicts: `rejected_static` (the text breaks a rule), `error_reported` (it fails on a state), `contained_runtime`
(it was stopped: too slow, endless, out of memory, or it tried something that the lock forbids), `accepted`.
"""

from __future__ import annotations

from collections.abc import Collection

from embodied.core.errors import RewardCodeError
from embodied.core.quantities import Schema
from embodied.core.reward import RewardProgram
from embodied.core.writer import Check
from embodied.rewards.rollouts import Rollouts
from embodied.rewards.screen import screen
from embodied.sandbox.process import End, LockedProcess
from embodied.sandbox.static_check import check_source

TRY_DEADLINE_S = 20.0


class Checker:
    """Checks programs for one task.

    Args:
        schema: the readable quantities.
        rollouts: recorded episodes to try programs on; None checks the text alone.
        allow_missing: sandbox layers that the user allows to be absent (written in the record).
        deadline_s: longest time for a program to work through all recorded states.
    """

    def __init__(
        self,
        schema: Schema,
        rollouts: Rollouts | None,
        *,
        allow_missing: Collection[str] = (),
        deadline_s: float = TRY_DEADLINE_S,
    ) -> None:
        self.schema, self.rollouts = schema, rollouts
        self.allow_missing, self.deadline_s = tuple(allow_missing), deadline_s

    def __call__(self, program: RewardProgram) -> Check:
        """The verdict on one program.

        Raises:
            SandboxError: the lock could not be set; nothing is said about the program.
        """
        static = check_source(program.source, self.schema)
        if not static.ok:
            return Check("rejected_static", _all_problems(static), static.line)
        if self.rollouts is None:
            return Check("accepted")
        return self._try(program, self.rollouts)

    def check_text(self, text: bytes | str, task: str, writer: str = "person") -> Check:
        """The verdict on a text that need not even be text (a file of anybody's)."""
        static = check_source(text, self.schema)
        if not static.ok:
            return Check("rejected_static", _all_problems(static), static.line)
        source = text.decode("utf-8") if isinstance(text, bytes) else text
        return self(RewardProgram(source, writer, task))

    def _try(self, program: RewardProgram, rollouts: Rollouts) -> Check:
        with LockedProcess(
            "embodied.rewards.probe",
            {"schema": self.schema.to_json()},
            lock="light",
            allow_missing=self.allow_missing,
            heartbeat_s=None,
        ) as process:
            job = {"program": program.to_json()}
            answer = process.request(job, rollouts.to_arrays(), deadline_s=self.deadline_s)
        if isinstance(answer, End):
            if answer.kind == "error":  # an error that is not the program's own is a fault of ours
                raise RewardCodeError(f"trying the program failed: {answer.detail}")
            return Check("contained_runtime", f"the program was stopped: {answer.detail}")
        if answer["kind"] == "slow":
            return Check("contained_runtime", answer["message"], answer["line"])
        if answer["kind"] == "error":
            return Check("error_reported", answer["message"], answer["line"])
        terms = dict(zip(answer["names"], answer["arrays"]["terms"], strict=True))
        return Check(
            "accepted",
            evaluation=answer["evaluation"],
            note=answer["note"],
            us_per_row=answer["us_per_row"],
            screen=screen(terms, rollouts),
        )


def _all_problems(static) -> str:
    """The first problem, and the others with their lines, so that a model can mend them at once."""
    others = [str(problem) for problem in static.problems[1:]]
    return " ".join([static.message, *(["Also:", *others] if others else [])])
