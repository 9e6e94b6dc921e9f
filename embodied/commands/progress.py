"""Live progress of trainings on the terminal; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table


class TrainingProgress:
    """A table with one row per training: steps, rate, time left, success, reward terms.

    Args:
        total_steps: steps of each training.
    """

    def __init__(self, total_steps: int) -> None:
        self.total_steps = total_steps
        self.console = Console(highlight=False, markup=False)
        self.rows: dict[str, dict[str, Any]] = {}
        self._live: Live | None = None
        self._last_line = 0.0

    def __enter__(self) -> TrainingProgress:
        if self.console.is_terminal:
            self._live = Live(self._table(), console=self.console, refresh_per_second=4, transient=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(self._table())
            self._live.stop()

    def say(self, text: str) -> None:
        """One line above the table."""
        (self._live.console if self._live else self.console).print(text, soft_wrap=True)
        sys.stdout.flush()

    def __call__(self, job: str, row: Mapping[str, Any]) -> None:
        """Takes a row of progress of one training."""
        known = self.rows.setdefault(job, {"terms": {}})
        kind = row.get("kind")
        if kind == "progress":
            known.update({k: row[k] for k in ("step", "steps_per_s", "success") if k in row}, terms=row["terms"])
        elif kind == "evaluation":
            known.update(measured=row["rate"], measured_at=row["step"])
        elif kind == "resumed":
            self.say(f"{job}: going on from step {row['step']:,}")
        elif kind == "done":
            known.update(step=row["step"], done=True)
        if self._live is not None:
            self._live.update(self._table())
        elif kind in ("evaluation", "done") or time.monotonic() - self._last_line > 10:
            self._last_line = time.monotonic()
            self.say(self._line(job, known))

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for title in ("training", "steps", "steps/s", "left", "success (measured)", "reward terms per step"):
            table.add_column(title, justify="left" if "t" in title[:1] else "right")
        for job, row in self.rows.items():
            table.add_row(job, *self._cells(row))
        return Group(table)

    def _cells(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        step, rate = row.get("step", 0), row.get("steps_per_s", 0.0)
        left = "done" if row.get("done") else f"{(self.total_steps - step) / rate:.0f} s" if rate else "-"
        measured = f"{row['measured']:.0%} at {row['measured_at']:,}" if "measured" in row else "-"
        terms = "  ".join(f"{k} {v:+.2f}" for k, v in row["terms"].items())
        return f"{step:,}/{self.total_steps:,}", f"{rate:,.0f}", left, measured, terms

    def _line(self, job: str, row: Mapping[str, Any]) -> str:
        steps, rate, left, measured, terms = self._cells(row)
        return f"{job:8s} {steps} steps, {rate}/s, left {left}, success {measured} | {terms}"


class FitProgress:
    """One line per report of a supervised fit, with rate and time left.

    Args:
        steps: of the whole fit.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.console = Console(highlight=False, markup=False)
        self._bar: Any = None

    def __enter__(self) -> FitProgress:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        if self.console.is_terminal:
            columns = (BarColumn(), TextColumn("{task.completed:,}/{task.total:,}"), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.description}"), console=self.console)
            self._bar.start()
            self._task = self._bar.add_task("", total=self.steps)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """One line above the bar."""
        (self._bar.console if self._bar is not None else self.console).print(text, soft_wrap=True)
        sys.stdout.flush()

    def __call__(self, row: Any) -> None:
        """Takes a report of `embodied.policies.fitting`."""
        losses = "  ".join(f"{k} {v:.4f}" for k, v in row.values.items() if k != "steps_per_s")
        rate = row.values.get("steps_per_s", 0.0)
        if self._bar is not None and row.kind == "train":
            self._bar.update(self._task, completed=row.step, description=f"{rate:.1f} steps/s  {losses}")
        else:
            left = f", {rate:.1f}/s, left {(self.steps - row.step) / rate:.0f} s" if rate else ""
            self.say(f"{row.kind:10s} {row.step:,}/{self.steps:,}{left} | {losses}")


class EpisodeProgress:
    """Counts recorded episodes per task."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, markup=False)

    def __enter__(self) -> EpisodeProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, soft_wrap=True)
        sys.stdout.flush()

    def of(self, name: str, total: int) -> Any:
        """A counter for one task: called with the episodes kept so far."""
        started, last = time.monotonic(), [0.0]

        def count(kept: int) -> None:
            now = time.monotonic()
            if kept == total or now - last[0] > 5.0:
                last[0] = now
                left = (now - started) / kept * (total - kept)
                self.say(f"{name}: {kept}/{total} episodes, left {left:.0f} s")

        return count
