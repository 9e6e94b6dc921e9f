"""Reward programs: one source text, three uses (reinforcement learning, planning cost, scoring of data).

The contract is `reward(world, action) -> dict[str, array]`: named terms of the batch's shape, `world` the state
*after* `action`, `action` in the policy's normalised range. An optional module constant `WEIGHTS` weighs the
terms; the total is the weighted sum. The published form of Text2Reward (Xie et al. 2024, arXiv:2309.11489),
`compute_dense_reward(self, action) -> float` or `-> (float, dict)`, is accepted and evaluated row by row.

A program is data (JSON in, JSON out). It becomes code only by `bind`, and only in a locked process or where the
caller vouches for a person's review.
"""

from __future__ import annotations
import __future__

import ast
import hashlib
import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from embodied.core.errors import RewardCodeError, TrustError
from embodied.core.trust import lock_report
from embodied.core.world import World

FILENAME = "<reward>"
MAX_ABS = 1e6
BATCHED_ENTRY = "reward"
PUBLISHED_ENTRY = "compute_dense_reward"


@dataclass(frozen=True)
class RewardProgram:
    """A reward as data.

    Attributes:
        source: Python text, exactly as its writer gave it.
        writer: who wrote it: `text2reward`, `expert`, `library`, `person`, ...
        task: name of the task it was written for.
        weights: overrides of the program's own `WEIGHTS`, by term.
        evaluation: `batched` once proven equal to row by row, else `by_row`.
        provenance: model, prompt hash, parent program, round, ... (plain JSON values).
    """

    source: str
    writer: str
    task: str
    weights: Mapping[str, float] = field(default_factory=dict)
    evaluation: str = "by_row"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Hash of the source text."""
        return hashlib.sha256(self.source.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def entry(self) -> str:
        """Name of the function that is called: `reward`, or the published `compute_dense_reward`."""
        try:
            tree = ast.parse(self.source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise RewardCodeError(f"not Python: {error}", getattr(error, "lineno", None)) from None
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        for entry in (BATCHED_ENTRY, PUBLISHED_ENTRY):
            if entry in names:
                return entry
        raise RewardCodeError(
            f"no function '{BATCHED_ENTRY}(world, action)' (or '{PUBLISHED_ENTRY}(self, action)');"
            f" the program defines: {', '.join(sorted(names)) or 'no function'}"
        )

    def with_evaluation(self, evaluation: str) -> RewardProgram:
        """The same program, marked `batched` or `by_row`."""
        return replace(self, evaluation=evaluation)

    def to_json(self) -> dict:
        """Plain data; `from_json` gives the program back."""
        return {
            "source": self.source,
            "writer": self.writer,
            "task": self.task,
            "weights": dict(self.weights),
            "evaluation": self.evaluation,
            "provenance": dict(self.provenance),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> RewardProgram:
        """Inverse of `to_json`; unknown keys are refused."""
        return RewardProgram(**data)

    def bind(self, *, reviewed: bool = False) -> BoundReward:
        """Compiles the program into a callable.

        Args:
            reviewed: the caller vouches that a person reviewed the source (the programs that we ship).

        Raises:
            TrustError: the process is not locked and the source is not vouched for.
            RewardCodeError: the source does not compile or has no entry function.
        """
        if lock_report() is None and not reviewed:
            raise TrustError(
                f"reward program of writer '{self.writer}' runs only in a locked process"
                " (embodied.sandbox); this process is open"
            )
        entry = self.entry
        scope: dict[str, Any] = {"np": np, "math": math, "__name__": "reward"}
        try:
            flags = __future__.annotations.compiler_flag  # `world: World` is a note to the reader, not a name
            exec(compile(self.source, FILENAME, "exec", flags, dont_inherit=True), scope)
        except Exception as error:
            raise _as_code_error(error) from None
        weights = scope.get("WEIGHTS", {})
        if not isinstance(weights, dict) or not all(
            isinstance(k, str) and isinstance(v, int | float) and math.isfinite(v) for k, v in weights.items()
        ):
            raise RewardCodeError("WEIGHTS must be a dict from term name to a finite number")
        by_row = entry == PUBLISHED_ENTRY or self.evaluation != "batched"
        return BoundReward(scope[entry], {**weights, **self.weights}, by_row=by_row, lines=self.term_lines())

    def term_lines(self) -> dict[str, int]:
        """Where the source sets each term, by name: `{"name": ...}` or `terms["name"] = ...`; the last place counts."""
        lines: dict[str, int] = {}
        for node in ast.walk(ast.parse(self.source)):
            keys = node.keys if isinstance(node, ast.Dict) else ()
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                keys = (node.slice,)
            for key in keys:
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    lines[key.value] = max(key.lineno, lines.get(key.value, 0))
        return lines


class BoundReward:
    """A compiled reward program.

    Calling it gives `(total, terms)`: `total` of the world's batch shape, `terms` the weighted terms by name.
    """

    def __init__(
        self, function: Any, weights: Mapping[str, float], *, by_row: bool, lines: Mapping[str, int] | None = None
    ) -> None:
        self.function, self.weights, self.by_row, self.lines = function, dict(weights), by_row, dict(lines or {})

    def __call__(self, world: World, action: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Evaluates the program.

        Args:
            world: batch of states after the action, batch axes `(...)`.
            action: `(..., A)` in the policy's normalised range.

        Raises:
            RewardCodeError: the program raised, or a term has a wrong type, shape or value.
        """
        batch = world.batch_shape
        if self.by_row and batch:
            terms = self._rows(world, action, batch)
        else:
            terms = self._call(world, action, batch)
        if not terms:
            raise RewardCodeError("the program returns no terms")
        unknown = set(self.weights) - set(terms)
        if unknown:
            raise RewardCodeError(f"WEIGHTS names terms that are not returned: {', '.join(sorted(unknown))}")
        weighted = {
            name: self.weights[name] * value if name in self.weights else value for name, value in terms.items()
        }
        total = np.zeros(batch)
        for value in weighted.values():
            total += value
        return total, weighted

    def _rows(self, world: World, action: np.ndarray, batch: tuple[int, ...]) -> dict[str, np.ndarray]:
        if len(batch) != 1:
            raise RewardCodeError(f"row by row evaluation takes one batch axis, got {batch}")
        (count,) = batch
        rows = [self._call(world.rows(i), action[i], ()) for i in range(count)]
        for i, row in enumerate(rows):
            if row.keys() != rows[0].keys():
                raise RewardCodeError(f"row {i} returns terms {sorted(row)}, row 0 returned {sorted(rows[0])}")
        return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}

    def _call(self, world: World, action: np.ndarray, batch: tuple[int, ...]) -> dict[str, np.ndarray]:
        private = np.array(action, dtype=np.float64)
        private.flags.writeable = False
        try:
            with np.errstate(all="ignore"):
                result = self.function(world, private)
        except Exception as error:
            raise _as_code_error(error) from None
        return check_terms(result, batch, self.lines)


def check_terms(result: Any, batch: tuple[int, ...], lines: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """Checks what a program returned and gives float arrays of the batch's shape.

    Accepts a dict of terms, one number or array (named `reward`), or `(number, dict)` whose dict is informative.
    `lines` says where the source sets each term, for the error.

    Raises:
        RewardCodeError: wrong type, shape, a value that is not finite, or |value| > 1e6.
    """
    if isinstance(result, tuple):
        if len(result) != 2 or not isinstance(result[1], dict):
            raise RewardCodeError("a returned tuple must be (number, dict of terms)")
        result = result[0]
    named = result if isinstance(result, dict) else {"reward": result}
    checked = {}
    for name, value in named.items():
        try:
            checked[name] = _check_term(name, value, batch)
        except RewardCodeError as error:
            line = (lines or {}).get(name) if isinstance(name, str) else None
            raise RewardCodeError(error.message, line) from None
    return checked


def _check_term(name: Any, value: Any, batch: tuple[int, ...]) -> np.ndarray:
    if not isinstance(name, str) or not name.isidentifier():
        raise RewardCodeError(f"term names must be identifiers, got {type(name).__name__} {str(name)[:40]!r}")
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number | np.ndarray):
        raise RewardCodeError(f"term '{name}' is a {type(value).__name__}; it must be a float or a float array")
    if isinstance(value, np.ndarray) and _is_proper(value, batch):
        return value
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "iuf" or array.dtype == np.longdouble:
            raise RewardCodeError(f"term '{name}' has dtype {array.dtype}; it must be real (float64)")
        array = array.astype(np.float64)
    except OverflowError:
        raise RewardCodeError(f"term '{name}' is an integer too large for a float") from None
    if array.shape not in {(), batch}:
        raise RewardCodeError(
            f"term '{name}' has shape {array.shape}; it must have the batch's shape {batch}."
            " Reduce vectors over the last axis (axis=-1)"
        )
    if not np.isfinite(array).all():
        raise RewardCodeError(f"term '{name}' is not finite (NaN or infinity)")
    if array.size and np.abs(array).max() > MAX_ABS:
        raise RewardCodeError(f"term '{name}' reaches {np.abs(array).max():.3g}; the limit is {MAX_ABS:.0e}")
    return np.broadcast_to(array, batch)


def _is_proper(value: np.ndarray, batch: tuple[int, ...]) -> bool:
    """The usual case, decided quickly: a float64 array of the batch's shape within the bounds (NaN fails both)."""
    if value.dtype != np.float64 or value.shape != batch or value.size == 0:
        return False
    return bool(np.vdot(value, value) <= MAX_ABS**2)  # one pass; a larger sum is looked at value by value


def _as_code_error(error: BaseException) -> RewardCodeError:
    """A program's exception as one short, printable message with the program's own line."""
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == FILENAME:
            line = frame.lineno
            break
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be read)"
    clean = "".join(c if c.isprintable() else " " for c in text[:500])
    return RewardCodeError(f"{type(error).__name__}: {clean}", line)
