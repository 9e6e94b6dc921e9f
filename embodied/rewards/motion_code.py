"""What happens to the script of a reward coder inside the light lock: it calls a motion API, which collects.

`run_motion_code` is the parent's side: script in, reward program out, every fault as text for the model.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from embodied.core.errors import RewardCodeError, UnknownNameError
from embodied.rewards.manipulator_motion import ManipulatorMotion
from embodied.rewards.manipulator_skills import ManipulatorSkills
from embodied.rewards.quadruped_motion import QuadrupedMotion
from embodied.rewards.quadruped_skills import QuadrupedSkills
from embodied.sandbox.call_check import check_calls
from embodied.sandbox.process import End, LockedProcess

MORPHOLOGIES: Mapping[str, type] = {
    "manipulator": ManipulatorMotion,
    "manipulator_skills": ManipulatorSkills,
    "quadruped": QuadrupedMotion,
    "quadruped_skills": QuadrupedSkills,
}
DEADLINE_S = 10.0
_FILE = "<motion>"


def motion_of(morphology: str) -> Any:
    """A new collector of motion calls.

    Raises:
        UnknownNameError: no such morphology.
    """
    if morphology not in MORPHOLOGIES:
        raise UnknownNameError("morphology", morphology, MORPHOLOGIES, "Language to Rewards")
    return MORPHOLOGIES[morphology]()


def run_motion_code(source: str, morphology: str, *, title: str = "", allow_missing: Collection[str] = ()) -> str:
    """Runs a script under the light lock; returns the source of the reward program that its calls describe.

    Raises:
        RewardCodeError: a fault of the script, with its line.
        SandboxError: the lock could not be set.
    """
    check_calls(source, motion_of(morphology).calls())
    with LockedProcess("embodied.rewards.motion_code", {}, lock="light", allow_missing=allow_missing) as process:
        job = {"source": source, "morphology": morphology, "title": title}
        answer = process.request(job, deadline_s=DEADLINE_S)
    if isinstance(answer, End):
        raise RewardCodeError(f"the script was stopped: {answer.detail}")
    if "error" in answer:
        raise RewardCodeError(answer["error"], answer["line"])
    return answer["program"]


def prepare(request: Mapping[str, Any]) -> None:
    """Before the lock: nothing to load."""


def run(context: None, channel: Any) -> None:
    """Inside the lock: one script; answers `{"program"}` or `{"error", "line"}`."""
    job = channel.receive()
    if job is None:
        return
    motion = motion_of(job["morphology"])
    scope = {**motion.calls(), "np": np, "numpy": np, "math": math, "__name__": "motion"}
    try:
        exec(compile(job["source"], _FILE, "exec", dont_inherit=True), scope)
        channel.send({"program": motion.source(job["title"])})
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == _FILE]
        text = error.message if isinstance(error, RewardCodeError) else f"{type(error).__name__}: {error}"
        channel.send({"error": text[:500], "line": lines[-1] if lines else None})
