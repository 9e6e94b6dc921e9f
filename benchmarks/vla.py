"""Heads, reasoning and LeRobot's policies on six Meta-World tasks, at equal encoder size and CPU budget.

`python benchmarks/vla.py [--quick] [--rows "l1;flow;..."] [--seeds 0,1,2] [--again]`; `LEROBOT_PYTHON=<python of its
environment>` names the peer (`peers/lerobot.txt`). The work takes hours, so every finished (row, seed) stands in
`benchmarks/results/vla/` with its date and commit and is not run again unless asked for (`--again`); the table and the
result file are always made of what stands there. Demonstrations are recorded anew where they are missing.

30 demonstrations a task (noise 0, 0.1, 0.3 on what is executed), 64 x 64 pixels, one camera; 20 episodes a task at
positions that no demonstration had, 200 steps each. The budget is CPU seconds of training on one thread: a row's step
is timed once, before all else and with nothing beside it (`step_s`), and the budget then sets the number of steps for
every seed, so that what runs at the same time does not. `x4` rows have four times the budget.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from common import RESULTS, Metric, finish

from embodied.core.assets import conf_dir
from embodied.core.files import read_json, write_json
from embodied.core.runs import machine_provenance
from embodied.core.stats import wilson_interval
from embodied.data.dataset import Dataset
from embodied.policies.fitting import Fit, FitSettings, architecture_for
from embodied.policies.trial import try_out
from embodied.policies.vla_policy import VLAPolicy
from embodied.rl.writing import make_task

TASKS = ["button-press", "drawer-open", "drawer-close", "window-open", "window-close", "door-open"]
BASE_S, SEED_OF_STARTS, EPISODE_STEPS = 420.0, 777, 200
X0 = {"prediction": "sample"}  # the denoiser says what the chunk is, not what the noise was
# row -> (head, its settings, reasoning, times the budget), or LeRobot's policy and times the budget
ROWS: dict[str, tuple[Any, ...]] = {
    "l1": ("l1", {}, False, 1),
    "binned": ("binned", {}, False, 1),
    "fourier": ("fourier", {}, False, 1),
    "diffusion": ("diffusion", {}, False, 1),
    "diffusion, x0": ("diffusion", X0, False, 1),
    "flow": ("flow", {}, False, 1),
    "flow, reasoning": ("flow", {}, True, 1),
    "flow x4": ("flow", {}, False, 4),
    "flow, reasoning x4": ("flow", {}, True, 4),
    "diffusion, x0 x4": ("diffusion", X0, False, 4),
    "LeRobot ACT": ("act", 1),
    "LeRobot Diffusion Policy": ("diffusion", 1),
    "LeRobot ACT x4": ("act", 4),
    "LeRobot Diffusion Policy x4": ("diffusion", 4),
}


@dataclass(frozen=True)
class Work:
    """Where hours of work stand.

    Attributes:
        kept: finished rows and timed steps, which travel with the project.
        data: demonstrations, which are recorded again where they are missing.
        again: whether rows are run although they stand.
    """

    kept: Path
    data: Path
    again: bool = False

    @classmethod
    @contextmanager
    def open(cls, quick: bool, again: bool = False) -> Iterator[Work]:
        """The project's own folders, or for a quick run some that are thrown away."""
        if quick:
            with tempfile.TemporaryDirectory() as scratch:
                yield cls(Path(scratch), Path(scratch) / "data")
        else:
            yield cls(RESULTS / "vla", RESULTS.parents[1] / "runs" / "benchmarks", again)

    def wants(self, name: str) -> bool:
        """Whether the row still has to be run."""
        return self.again or not (self.kept / f"{name}.json").exists()

    def keep(self, name: str, row: dict[str, Any]) -> None:
        """Writes a finished row down, with date and commit."""
        git = machine_provenance()["git"]
        stamped = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "git": git, **row}
        write_json(self.kept / f"{name}.json", stamped)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """All seeds of one kind of row."""
        return [read_json(path) for path in sorted(self.kept.glob(f"{name}.seed*.json"))]

    def steps(self, name: str, budget_s: float, dataset: Dataset, head: dict[str, Any], reasoning: bool) -> int:
        """How many steps the budget allows, by a step that was timed once, alone, and written down."""
        path = self.kept / f"{name}.step_s.json"
        if not path.exists():
            write_json(path, {"step_s": step_s(dataset, head, reasoning)})
        return max(20, int(budget_s / read_json(path)["step_s"]))


def part(name: str) -> dict[str, Any]:
    return yaml.safe_load((conf_dir() / f"{name}.yaml").read_text(encoding="utf-8"))


def recorded(folder: Path, tasks: list[str], episodes: int, *more: str) -> Dataset:
    """Demonstrations by `embodied record`; `more` are further words."""
    if not (folder / "meta" / "tasks.parquet").exists():
        words = ["record", f"tasks=[{','.join(tasks)}]", f"dataset={folder}", f"episodes={episodes}", *more]
        subprocess.run([sys.executable, "-m", "embodied.commands.main", *words], check=True)
    return Dataset(folder)


def fit_of(dataset: Dataset, head: dict[str, Any], reasoning: bool, steps: int, seed: int) -> Fit:
    parts = {"policy": {**part("policy/diffusion_vla"), "reasoning": reasoning}, "backbone": part("backbone/light")}
    settings = {k: v for k, v in part("fit")["settings"].items() if k not in ("steps", "seed")}
    quiet = {"validation_share": 0.0, "save_every": 10**9}
    architecture = architecture_for(dataset, **parts, head=head)
    return Fit(dataset, architecture, FitSettings(**{**settings, **quiet, "steps": steps, "seed": seed}))


def step_s(dataset: Dataset, head: dict[str, Any], reasoning: bool) -> float:
    """CPU seconds of one training step: forty, after ten that fill the caches."""
    fit = fit_of(dataset, head, reasoning, 50, 0)
    with tempfile.TemporaryDirectory() as scratch:
        fit.run(Path(scratch), until=10)
        begin = time.process_time()
        fit.run(Path(scratch))
    return (time.process_time() - begin) / 40


def fitted(
    dataset: Dataset, folder: Path, head: dict[str, Any], reasoning: bool, steps: int, seed: int
) -> dict[str, Any]:
    """Fits one policy; its size, steps and CPU seconds."""
    fit = fit_of(dataset, head, reasoning, steps, seed)
    begin = time.process_time()
    fit.run(folder)
    weights = sum(p.numel() for p in fit.network.parameters())
    return {"weights": weights, "steps": fit.step, "cpu_s": time.process_time() - begin}


def tried(folder: Path, tasks: list[str], episodes: int, seed: int) -> dict[str, int]:
    policy = VLAPolicy.load(folder / "policy")
    found = {}
    for name in tasks:
        task = make_task(f"metaworld/{name}")
        trial = try_out(task, policy, episodes=episodes, seed=SEED_OF_STARTS + seed, episode_steps=EPISODE_STEPS)
        found[name] = int(trial.success.sum())
    return found


def peer(*words: str) -> dict[str, Any]:
    """What LeRobot's environment says to `peers/lerobot_policy.py <words>`."""
    python = os.environ.get("LEROBOT_PYTHON")
    if not python:
        return {"error": "LEROBOT_PYTHON is not set"}
    root = Path(__file__).resolve().parents[1]
    command = [python, str(root / "benchmarks" / "peers" / "lerobot_policy.py"), *words]
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=scratch, env=environment)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["?"])[-1][:300]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def head_of(what: tuple[Any, ...]) -> dict[str, Any]:
    return {**part(f"head/{what[0]}"), **what[1]}


def steps_of(name: str, work: Work, dataset: Dataset, budget: float) -> int:
    """`Work.steps` of a row; 0 where LeRobot's environment does not answer."""
    what, plain = ROWS[name], slug(name.removesuffix(" x4"))
    if len(what) == 2 and not (work.kept / f"{plain}.step_s.json").exists():
        timed = peer(what[0], str(dataset.folder), "time")
        if "error" in timed:
            return 0
        write_json(work.kept / f"{plain}.step_s.json", timed)
    head, reasoning = (head_of(what), what[2]) if len(what) == 4 else ({}, False)
    return work.steps(plain, budget * what[-1], dataset, head, reasoning)


def run_row(name: str, seed: int, work: Work, dataset: Dataset, given: argparse.Namespace) -> dict[str, Any]:
    what, tasks = ROWS[name], given.tasks
    steps = steps_of(name, work, dataset, given.budget)
    if len(what) == 2:
        names = [f"metaworld/{t}" for t in tasks]
        row = peer(what[0], str(dataset.folder), str(steps), str(seed), str(given.episodes), *names)
        return row | {"success": {k.removeprefix("metaworld/"): v for k, v in row.get("success", {}).items()}}
    with tempfile.TemporaryDirectory() as scratch:
        row = fitted(dataset, Path(scratch), head_of(what), what[2], steps, seed)
        return {**row, "success": tried(Path(scratch), tasks, given.episodes, seed), "episodes": given.episodes}


def table(work: Work, tasks: list[str]) -> dict[str, Any]:
    """Every row that stands: success per seed, per task, with an interval over all episodes."""
    found: dict[str, Any] = {}
    for name in ROWS:
        runs = [row for row in work.rows(slug(name)) if row["success"]]
        if not runs:
            continue
        hits, episodes = [sum(r["success"].values()) for r in runs], runs[0]["episodes"] * len(tasks)
        low, high = wilson_interval(sum(hits), episodes * len(runs))
        found[name] = {
            "mean": sum(hits) / (episodes * len(runs)),
            "low": low,
            "high": high,
            "per_seed": [h / episodes for h in hits],
            "per_task": {t: sum(r["success"][t] for r in runs) / (runs[0]["episodes"] * len(runs)) for t in tasks},
            "weights": runs[0]["weights"],
            "steps": [r["steps"] for r in runs],
            "cpu_s": [round(r["cpu_s"]) for r in runs],
        }
    return found


def slug(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-").lower()


def metrics_of(rows: dict[str, Any]) -> list[Metric]:
    ours = {n: r["mean"] for n, r in rows.items() if not n.startswith("LeRobot")}
    base = {n: v for n, v in ours.items() if not n.endswith("x4")}
    theirs = {n: r["mean"] for n, r in rows.items() if n.startswith("LeRobot")}
    metrics = []
    if ours:
        best = max(ours, key=lambda n: ours[n])
        metrics.append(Metric(f"best ({best}) over 88%", ours[best], 0.88, "target", ours[best] / 0.88, 1.0, {}))
    generative = {n: v for n, v in ours.items() if n.startswith(("flow", "diffusion"))}
    if generative:
        best = max(generative, key=lambda n: generative[n])
        ratio = generative[best] / 0.85
        metrics.append(Metric(f"diffusion or flow ({best}) over 85%", generative[best], 0.85, "target", ratio, 1.0, {}))
    for name, value in theirs.items():
        own = base if not name.endswith("x4") else ours
        if own:
            best = max(own, key=lambda n: own[n])
            ratio = own[best] / value if value else None
            target = None if name.endswith("x4") else 1.0
            metrics.append(
                Metric(f"best at no larger budget ({best}) over {name}", own[best], value, name, ratio, target, {})
            )
    return metrics


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one task, four demonstrations, 15 s, one seed")
    parser.add_argument("--again", action="store_true", help="also rows that stand")
    parser.add_argument("--rows", default="", help="names as in the table, separated by semicolons; by default all")
    parser.add_argument("--seeds", default="0,1,2")
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    given.tasks, given.episodes, given.budget, demonstrations = TASKS, 20, BASE_S, 30
    seeds, names = [int(s) for s in given.seeds.split(",")], [n for n in given.rows.split(";") if n] or list(ROWS)
    if given.quick:
        given.tasks, given.episodes, given.budget, demonstrations = ["drawer-close"], 4, 15.0, 4
        seeds, names = [0], [n for n in names if not n.endswith("x4")]
    with Work.open(given.quick, given.again) as work:
        dataset = recorded(work.data / "vla", [f"metaworld/{t}" for t in given.tasks], demonstrations)
        for name in names:
            print(name, steps_of(name, work, dataset, given.budget), "steps", flush=True)
        for seed in seeds:
            for name in names:
                if work.wants(which := f"{slug(name)}.seed{seed}"):
                    row = run_row(name, seed, work, dataset, given)
                    print(name, seed, json.dumps(row), flush=True)
                    work.keep(which, row)
        rows = table(work, given.tasks)
    for name, row in rows.items():
        per_task = "  ".join(f"{t} {v:.0%}" for t, v in row["per_task"].items())
        print(f"{name:30s} {row['mean']:.1%} [{row['low']:.1%}, {row['high']:.1%}]  {per_task}")
    chance = float(np.mean([r["mean"] for r in rows.values()])) if rows else 0.0
    settings = {"tasks": given.tasks, "episodes": given.episodes, "budget_cpu_s": given.budget, "mean_of_rows": chance}
    return finish("vla", metrics_of(rows), seeds=seeds, settings=settings, table=rows)


if __name__ == "__main__":
    sys.exit(main())
