"""The errors of the stack: what, where, the value, what would be valid, what to do.

Every error that a user can cause derives from `EmbodiedError`; the command line prints its text on one
line and exits with code 2. Programming faults are ordinary Python exceptions.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EmbodiedError(Exception):
    """Root of all errors that a user can cause and can remedy."""


class ConfigError(EmbodiedError):
    """A configuration value is missing, misspelt or of the wrong type."""


class UnknownNameError(ConfigError):
    """A name is not among the known ones. The message offers the closest known name."""

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "") -> None:
        self.kind, self.name, self.known, self.where = kind, name, sorted(known), where
        super().__init__(
            f"unknown {kind} '{name}'{f' in {where}' if where else ''}.{did_you_mean(name, self.known)}"
            f" Known: {', '.join(self.known) or '(none)'}"
        )

    def __reduce__(self) -> tuple:
        return type(self), (self.kind, self.name, self.known, self.where)


class TrustError(EmbodiedError):
    """Code or data of unknown origin was about to be used without the lock that it needs."""


class SandboxError(EmbodiedError):
    """The lock could not be set, or the process inside it did not answer. Never a verdict on a program."""


class RewardCodeError(EmbodiedError):
    """A reward program is wrong. `line` is the 1-based line of its source where known, else None."""

    def __init__(self, message: str, line: int | None = None) -> None:
        self.message, self.line = message, line
        super().__init__(f"line {line}: {message}" if line is not None else message)

    def __reduce__(self) -> tuple:
        return RewardCodeError, (self.message, self.line)


class DivergenceError(EmbodiedError):
    """The simulation or the reward left the finite numbers. Names the environment and the step."""


class ChatModelError(EmbodiedError):
    """A language model gave no usable answer (unreachable, refused, too long, out of budget, not recorded)."""


class CheckpointError(EmbodiedError):
    """A saved file is truncated, altered or of another version."""


class RenderingError(EmbodiedError):
    """No OpenGL context can be made on this machine."""


class RobotError(EmbodiedError):
    """A robot answers wrongly, or reports a fault of its own."""


class RobotLostError(RobotError):
    """The connection to a robot is gone."""


class InputLostError(RobotError):
    """The device by which a person moves a robot is gone."""


class CameraError(RobotError):
    """A camera of a robot is not there, gives no fresh pictures, or others than were asked for."""


class CalibrationError(RobotError):
    """A robot's calibration is missing, contradictory or not that of the robot at the end of the wire."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean 'x'?` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


class PolicyServerError(EmbodiedError):
    """A policy server cannot be reached, refuses, or answers wrongly."""
