"""The screen: before any training, does the program rank good episodes above bad ones?

Returns of scripted-expert episodes are ranked against those of random and of motionless episodes (as CARD's
trajectory preference evaluation ranks successes above failures; arXiv:2410.14660). Deviation: there is no learned
policy yet, and the result only ever warns: a program may screen badly and still train.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from embodied.core.stats import auc
from embodied.rewards.rollouts import Rollouts

GOOD = ("expert", "noisy_expert")
_DOMINATES, _DEAD = 0.9, 1e-6


def screen(terms: Mapping[str, np.ndarray], rollouts: Rollouts) -> dict[str, Any]:
    """Ranks recorded episodes by the program's return.

    Args:
        terms: weighted terms by name, each `(T, E)`.
        rollouts: the episodes.

    Returns:
        Plain data: `auc` (expert against random and zero; None without an expert), `auc_by_policy`, per term
        `auc`, `min`, `max`, `mean` of good and bad episodes, `share` of the absolute return, flags `dead` and
        `dominating`; `success_correlation`; and `warnings`, sentences for a person and for the model.
    """
    returns = {name: (value * rollouts.alive).sum(axis=0) for name, value in terms.items()}
    total = np.sum(list(returns.values()), axis=0)
    good = (rollouts.policy == "expert") & rollouts.success
    bad = np.isin(rollouts.policy, ("random", "zero")) & ~rollouts.success
    ranked = bool(good.any() and bad.any())
    variation = {name: float(np.std(value[rollouts.alive])) for name, value in terms.items()}
    spread = sum(variation.values()) or 1.0
    table = {}
    for name, value in terms.items():
        live = value[rollouts.alive]
        table[name] = {
            "min": float(live.min()),
            "max": float(live.max()),
            "share": variation[name] / spread,
            "dead": variation[name] < _DEAD,
            "dominating": len(terms) > 1 and variation[name] / spread > _DOMINATES,
            "auc": auc(returns[name][good], returns[name][bad]) if ranked else None,
            "good_mean": float(returns[name][good].mean()) if good.any() else None,
            "bad_mean": float(returns[name][bad].mean()) if bad.any() else None,
        }
    report: dict[str, Any] = {
        "auc": auc(total[good], total[bad]) if ranked else None,
        "auc_by_policy": {
            policy: auc(total[good], total[(rollouts.policy == policy) & ~rollouts.success])
            for policy in ("random", "zero")
            if ranked and ((rollouts.policy == policy) & ~rollouts.success).any()
        },
        "success_correlation": _correlation(total, rollouts.success),
        "step_scale": float(np.abs(np.sum(list(terms.values()), axis=0)[rollouts.alive]).mean()),
        "terms": table,
        "episodes": {p: int((rollouts.policy == p).sum()) for p in dict.fromkeys(rollouts.policy.tolist())},
    }
    report["warnings"] = _warnings(report)
    return report


def _correlation(total: np.ndarray, success: np.ndarray) -> float | None:
    if success.all() or not success.any() or np.std(total) < 1e-12:
        return None
    return float(np.corrcoef(total, success)[0, 1])


def _warnings(report: Mapping[str, Any]) -> list[str]:
    found = []
    if report["auc"] is not None and report["auc"] < 0.9:
        guilty = [n for n, row in report["terms"].items() if row["auc"] is not None and row["auc"] < 0.5]
        blame = f"; terms that rank bad episodes higher: {', '.join(guilty)}" if guilty else ""
        order = f"(AUC {report['auc']:.2f}){blame}"
        found.append(f"expert episodes do not clearly outrank random and motionless ones {order}")
    if report["auc"] is None:
        found.append("no successful expert episode to rank against: the screen could not judge the order")
    for name, row in report["terms"].items():
        if row["dead"]:
            found.append(f"term '{name}' never changes over all recorded episodes (it is {row['min']:.3g})")
        if row["dominating"]:
            found.append(f"term '{name}' makes up {row['share']:.0%} of all variation: the others hardly count")
    if report["step_scale"] > 1e3 or report["step_scale"] < 1e-3:
        found.append(f"the reward's usual size per step is {report['step_scale']:.2g}; between 0.1 and 10 learns best")
    if report["success_correlation"] is not None and report["success_correlation"] < 0.1:
        found.append(f"return and success hardly go together (correlation {report['success_correlation']:.2f})")
    return found
