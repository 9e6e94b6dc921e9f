"""Whether this process is locked. Set once, by the sandbox, after every mandatory layer is in place."""

from __future__ import annotations

_report: dict | None = None


def mark_locked(report: dict) -> None:
    """Records that this process is locked; `report` names the layers. It cannot be taken back."""
    global _report
    _report = dict(report)


def lock_report() -> dict | None:
    """The layers of this process's lock, or None when it is open."""
    return None if _report is None else dict(_report)
