"""Writes the figures of README and docs from `benchmarks/results/*.json`.

    python benchmarks/readme_figures.py [--check]

`--check` changes nothing and fails if a page is not what the results say.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from embodied.core.files import read_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
VLA = ("vla_multimodal", "vla_language", "data_loading", "vla_inference", "fourier_head")


def tabletop() -> str:
    """One row a task: success with the written and the expert reward."""
    path = RESULTS / "tabletop.json"
    if not path.is_file():
        return ""
    data = read_json(path)
    lines = [
        "| task | written reward | by seed | expert reward | steps | screen AUC |",
        "|---|---|---|---|---|---|",
    ]
    for row in data["metrics"]:
        low, high = row["interval"]
        seeds = ", ".join(f"{s:.0%}" if isinstance(s, float | int) else "failed" for s in row["by_seed"])
        peer = "-" if row["peer"] is None else f"{row['peer']:.0%}"
        auc = "-" if row["screen_auc"] is None else f"{row['screen_auc']:.2f}"
        steps = "-" if row["steps"] is None else f"{row['steps']:,}"
        name = row["name"].removesuffix(" success")
        lines.append(f"| {name} | **{row['ours']:.0%}** [{low:.0%}, {high:.0%}] | {seeds} | {peer} | {steps} | {auc} |")
    lines.append("")
    lines.append(f"50 fresh episodes a seed; {_machine(data)}.")
    return "\n".join(lines)


def breadth() -> str:
    """Meta-World and locomotion: the screen, training beside the expert reward, behaviours, faults."""
    path = RESULTS / "text2reward.json"
    if not path.is_file():
        return ""
    data = read_json(path)
    lines = ["| what | ours | by seed | against | steps |", "|---|---|---|---|---|"]
    for row in data["metrics"]:
        ours = row.get("ours")
        shown = (
            row.get("error", "-")[:60]
            if ours is None
            else (f"{ours:.2f}" if "screen" in row["name"] else f"{ours:.0%}")
        )
        seeds = ", ".join(f"{s:.0%}" if isinstance(s, float | int) else "failed" for s in row.get("by_seed", ()))
        peer = "-" if row.get("peer") is None else f"{row['peer']:.0%} ({row['peer_name']})"
        steps = f"{row['steps']:,}" if row.get("steps") else "-"
        lines.append(f"| {row['name']} | {shown} | {seeds or '-'} | {peer} | {steps} |")
    return "\n".join([*lines, "", f"{_machine(data)}."])


def figures() -> str:
    """The README's short table, from whatever results there are."""
    lines = []
    if (RESULTS / "tabletop.json").is_file():
        data = read_json(RESULTS / "tabletop.json")
        lines.append(
            "Success of policies trained with a language model's rewards (zero-shot, 50 fresh episodes a seed):"
        )
        lines += ["", "| " + " | ".join(r["name"].removesuffix(" success") for r in data["metrics"]) + " |"]
        lines.append("|" + "---|" * len(data["metrics"]))
        lines.append("| " + " | ".join(f"{r['ours']:.0%}" for r in data["metrics"]) + " |")
        lines.append("")
    for name in ("sim_throughput", "time_to_success", "sandbox_cost"):
        if (RESULTS / f"{name}.json").is_file():
            lines += _plain(name)
    return "\n".join(lines)


def speed() -> str:
    """One row a task: steps a second, the share of the limit, and how many times each peer."""
    path = RESULTS / "sim_throughput.json"
    if not path.is_file():
        return ""
    data = read_json(path)
    tasks: dict[str, dict[str, dict]] = {}
    for row in data["metrics"]:
        tasks.setdefault(row["name"].partition(":")[0], {})[row["peer_name"].partition(" (")[0]] = row
    limit = "mujoco.rollout alone"
    peers = list(dict.fromkeys(peer for rows in tasks.values() for peer in rows if peer != limit))
    head = ["task", "env steps/s", "of the limit, wall", "of the limit, per CPU-second", *peers]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for task, rows in tasks.items():
        own = rows[limit]
        cells = [task, f"{own['ours']:,.0f}", f"{own['ratio']:.2f}", f"{own['ratio_per_cpu_second']:.2f}"]
        cells += [f"{rows[peer]['ratio']:.1f}x" if peer in rows else "" for peer in peers]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"{_machine(data)}."])


def policies() -> str:
    """One row a policy of `vla.py`: success over all seeds with its interval."""
    path = RESULTS / "vla.json"
    if not path.is_file():
        return ""
    data = read_json(path)
    lines = ["| policy | success | by seed | steps | CPU s | weights |", "|---|---|---|---|---|---|"]
    for name, row in data["table"].items():
        seeds = ", ".join(f"{s:.0%}" for s in row["per_seed"])
        size = f"{row['weights'] / 1e6:.1f} M"
        interval = f"**{row['mean']:.1%}** [{row['low']:.0%}, {row['high']:.0%}]"
        lines.append(f"| {name} | {interval} | {seeds} | {row['steps'][0]:,} | {max(row['cpu_s'])} | {size} |")
    return "\n".join([*lines, "", f"{_machine(data)}."])


def plain(*names: str) -> str:
    """Whole results as tables, those that there are."""
    return "\n".join(line for name in names if (RESULTS / f"{name}.json").is_file() for line in _plain(name))


def _plain(name: str) -> list[str]:
    data = read_json(RESULTS / f"{name}.json")
    lines = [
        f"`benchmarks/{name}.py` ({_machine(data)}):",
        "",
        "| what | ours | against | ratio | target |",
        "|---|---|---|---|---|",
    ]
    for row in data["metrics"]:
        ours, ratio, target = _number(row["ours"]), _number(row.get("ratio")), _number(row["target"])
        if row["target"] is not None and row.get("target_is"):
            target = f"{row['target_is']} {target}"
        lines.append(f"| {row['name']} | {ours} | {row.get('peer_name', '-')} | {ratio} | {target} |")
    return [*lines, ""]


def _number(value: object) -> str:
    if not isinstance(value, float | int):
        return "-" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _machine(data: dict) -> str:
    machine = data.get("machine", {})
    cpu = re.sub(r"\s+", " ", str(machine.get("cpu", "?"))).replace("(R)", "")
    return f"{machine.get('cores', '?')} cores of {cpu}, {str(data.get('date', ''))[:10]}"


def main() -> None:
    """Rewrites the marked parts of the pages."""
    check, stale = "--check" in sys.argv[1:], []
    pages = (
        ("README.md", "figures", figures()),
        ("docs/text2reward.md", "tabletop", tabletop()),
        ("docs/text2reward.md", "breadth", breadth()),
        ("docs/planning.md", "figures", plain("mpc", "ant_mpc", "one_reward")),
        ("docs/talk.md", "figures", plain("talk_live", "language_to_rewards")),
        ("docs/simulation.md", "speed", speed()),
        ("docs/vla.md", "policies", policies()),
        ("docs/vla.md", "figures", plain(*VLA)),
        ("docs/robots.md", "figures", plain("robots")),
    )
    for page, marker, text in pages:
        path = ROOT / page
        old = path.read_text(encoding="utf-8")
        new = re.sub(
            rf"(<!-- {marker}: [^>]*-->\n).*?(<!-- /{marker} -->)",
            lambda m, t=text: f"{m[1]}{t}\n{m[2]}",
            old,
            flags=re.S,
        )
        if new != old:
            stale.append(page)
            if not check:
                path.write_text(new, encoding="utf-8")
    if check and stale:
        sys.exit(f"stale figures in {', '.join(stale)}: run python benchmarks/readme_figures.py")


if __name__ == "__main__":
    main()
