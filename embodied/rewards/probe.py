"""What happens to a program inside the light lock: it is tried on recorded states, and scored on episodes.

A program counts as batched only if its result equals row-by-row evaluation on at least 256 states (expert, random,
start, near success), in batches of 1, 2, 64 and all, and under permutation of the rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from embodied.core.errors import RewardCodeError
from embodied.core.quantities import Schema
from embodied.core.reward import PUBLISHED_ENTRY, BoundReward, RewardProgram
from embodied.core.world import World
from embodied.rewards.rollouts import Rollouts

PROBES = 256
MAX_US_PER_ROW = 2000.0  # CPU time, so that a busy machine condemns nobody
_TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}


class TooSlow(RewardCodeError):
    """The program works, but training with it would take for ever."""


def prepare(request: Mapping[str, Any]) -> Schema:
    """Before the lock: the schema, and a first use of the numpy parts that load lazily."""
    np.random.default_rng(0).permutation(4)
    np.linalg.norm(np.ones((2, 3)), axis=-1)
    np.einsum("ij,ij->i", np.ones((2, 3)), np.ones((2, 3)))
    return Schema.from_json(request["schema"])


def run(schema: Schema, channel: Any) -> None:
    """Inside the lock: one job, `{"program"}` with the rollouts' arrays; answers with the verdict and term arrays."""
    received = channel.receive_arrays()
    if received is None:
        return
    job, arrays = received
    program = RewardProgram.from_json(job["program"])
    rollouts = Rollouts.from_arrays(arrays, schema)
    try:
        answer, terms = try_program(program, rollouts, schema, beat=channel.beat)
    except RewardCodeError as error:
        kind = "slow" if isinstance(error, TooSlow) else "error"
        channel.send({"kind": kind, "message": error.message, "line": error.line})
        return
    stacked = np.stack(list(terms.values()))
    channel.send_arrays({"kind": "accepted", "names": list(terms), **answer}, {"terms": stacked})


def try_program(
    program: RewardProgram, rollouts: Rollouts, schema: Schema, *, beat: Any = lambda: None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Runs a program on the recorded states.

    Args:
        program: bound here, so the process must be locked.
        rollouts: the recorded episodes.
        schema: the readable names.
        beat: called now and then, to show progress.

    Returns:
        `(answer, terms)`: `evaluation` (`batched` or `by_row`), `note` (why not batched), `us_per_row`; and the
        weighted terms `(T, E)` of all recorded steps.

    Raises:
        RewardCodeError: the program fails on some state, or is too slow.
    """
    steps, episodes = rollouts.actions.shape[:2]
    world = rollouts.worlds(schema)
    actions = rollouts.actions.reshape(steps * episodes, -1)
    rows = probe_rows(rollouts)
    by_row = program.with_evaluation("by_row").bind()
    single, us_per_row = _timed_rows(by_row, world.rows(rows), actions[rows], beat)
    note, evaluation, bound = "", "by_row", by_row
    if program.entry != PUBLISHED_ENTRY:
        bound = program.with_evaluation("batched").bind()
        note = _batch_fault(bound, world.rows(rows), actions[rows], single)
        evaluation, bound = ("by_row", by_row) if note else ("batched", bound)
    _, terms = bound(world, actions)
    shaped = {name: value.reshape(steps, episodes) for name, value in terms.items()}
    return {"evaluation": evaluation, "note": note, "us_per_row": us_per_row}, shaped


def probe_rows(rollouts: Rollouts) -> np.ndarray:
    """Indices into the flattened `(T * E,)` steps: all starts, the ends, and a spread of the rest; at least 256."""
    steps, episodes = rollouts.actions.shape[:2]
    index = np.arange(steps * episodes).reshape(steps, episodes)
    chosen = np.concatenate([index[0], index[-1]])
    rest = np.setdiff1d(index.ravel(), chosen)
    spread = rest[np.linspace(0, len(rest) - 1, min(len(rest), PROBES)).astype(int)] if len(rest) else rest
    return np.concatenate([chosen, spread])


def _timed_rows(
    bound: BoundReward, world: World, actions: np.ndarray, beat: Any
) -> tuple[dict[str, np.ndarray], float]:
    """Row-by-row terms `(n,)`, and the mean cost of a row; stops early when it is hopeless."""
    collected: list[dict[str, np.ndarray]] = []
    begin = time.process_time()
    for row in range(len(actions)):
        _, terms = bound(world.rows(slice(row, row + 1)), actions[row : row + 1])
        collected.append(terms)
        beat()
        if row == 31 and (time.process_time() - begin) / 32 * 1e6 > MAX_US_PER_ROW:
            raise TooSlow(
                f"too slow: {(time.process_time() - begin) / 32 * 1e6:.0f} us per state; the limit is"
                f" {MAX_US_PER_ROW:.0f} us. Use array operations instead of Python loops"
            )
    cost = (time.process_time() - begin) / len(actions) * 1e6
    for row, terms in enumerate(collected):
        if terms.keys() != collected[0].keys():
            raise RewardCodeError(f"the names of the terms change from state to state: {sorted(terms)} at probe {row}")
    return {name: np.array([t[name][0] for t in collected]) for name in collected[0]}, cost


def _batch_fault(bound: BoundReward, world: World, actions: np.ndarray, single: dict[str, np.ndarray]) -> str:
    """Why batched evaluation may not be believed, or an empty string."""
    n = len(actions)
    shuffled = np.random.default_rng(0).permutation(n)
    batches = [np.arange(n), shuffled, np.arange(min(64, n)), np.array([0, n - 1]), np.array([n // 2])]
    for rows in batches:
        try:
            _, terms = bound(world.rows(rows), actions[rows])
        except RewardCodeError as error:
            return f"{error} (in a batch of {len(rows)} states; each state alone works)"
        for name in terms.keys() ^ single.keys():
            where = f"in a batch of {len(rows)}" if name in terms else "for single states"
            return f"term '{name}' exists only {where}: a program must always return the same terms"
        for name, value in terms.items():
            wrong = ~np.isclose(value, single[name][rows], **_TOLERANCE)
            if wrong.any():
                k = int(np.flatnonzero(wrong)[0])
                return (
                    f"term '{name}' is {value[k]:.6g} for a state inside a batch of {len(rows)} but"
                    f" {single[name][rows][k]:.6g} for the same state alone: reduce over axis=-1 only, and never over"
                    " the batch"
                )
    return ""
