"""Language to Rewards: 17 tasks by recorded answers, beside the coder alone and ready-made skills.

    python benchmarks/language_to_rewards.py [--quick] [--tasks ...] [--writers ...] [--seeds 5]

Every recorded answer of every writer becomes a program (through the writer itself, faults and all), which a locked
planner follows on fresh starts; success is measured by the task's own predicate, thresholds in its docstring. A task
counts as solved when at least half of all episodes of all its answers succeed. Paper (Yu et al. 2023,
arXiv:2306.08647): 90% of the tasks solved, 50% with primitive skills. Rows that a run leaves out are kept from the last
result. `--quick`: one seed of three tasks.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import RESULTS, finish
from tabletop import Row

from embodied.control.locked import LockedPlanner
from embodied.control.trial import try_planner
from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.errors import ChatModelError, EmbodiedError, RewardCodeError
from embodied.core.files import read_json
from embodied.core.reward import RewardProgram
from embodied.core.stats import wilson_interval
from embodied.core.writer import Check, WriterTools
from embodied.llm.replay import ReplayChat
from embodied.rl.writing import make_task, shipped_tasks

WRITERS = ("language_to_rewards", "language_to_rewards_coder_only", "primitive_skills")
PAPER = {"language_to_rewards": 0.9, "primitive_skills": 0.5}
MAX_SAMPLES, SOLVED, TARGET = 10, 0.5, 15


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tasks", default="")
    parser.add_argument("--writers", default=",".join(WRITERS))
    parser.add_argument("--seeds", type=int, default=5)
    words = parser.parse_args()
    tasks = [t for t in shipped_tasks() if make_task(t).morphology]
    chosen = words.tasks.split(",") if words.tasks else tasks[:3] if words.quick else tasks
    seeds = 1 if words.quick else words.seeds
    rows = _kept(chosen, words.writers.split(","))
    for writer in words.writers.split(","):
        for task in chosen:
            row = measure(writer, task, seeds)
            print(row, flush=True)
            rows.append(row)
    metrics = [*map(_metric, rows), *_summary(rows, len(tasks))]
    raise SystemExit(finish("language_to_rewards", metrics, seeds=range(seeds)))


def _kept(tasks: list[str], writers: list[str]) -> list[dict[str, Any]]:
    path = RESULTS / "language_to_rewards.json"
    old = read_json(path)["metrics"] if path.is_file() else []
    return [m["row"] for m in old if m.get("row") and not (m["row"]["task"] in tasks and m["row"]["writer"] in writers)]


def measure(writer: str, task: str, seeds: int) -> dict[str, Any]:
    """One task with every recorded answer of one writer."""
    row: dict[str, Any] = {"writer": writer, "task": task, "answers": 0, "faulty": 0, "successes": 0, "episodes": 0}
    row |= {"first_success_s": [], "faults": []}
    seen: set[str] = set()
    for sample in range(MAX_SAMPLES):
        try:
            program = written(writer, task, sample)
        except ChatModelError:
            break
        except RewardCodeError as error:
            if str(error) in row["faults"]:
                break
            row |= {"answers": row["answers"] + 1, "faulty": row["faulty"] + 1}
            row["faults"].append(str(error))
            row["episodes"] += seeds
            continue
        if program.source in seen:
            break  # no further sample: the same answer again
        seen.add(program.source)
        trial = play(task, program, seeds)
        row["answers"] += 1
        row["successes"] += sum(trial.success)
        row["episodes"] += len(trial.success)
        row["first_success_s"] += [t for t in trial.first_success_s if t is not None]
    return row


def written(writer: str, task: str, sample: int) -> RewardProgram:
    """What the writer makes of the recorded answers."""
    chat = ReplayChat(sample=sample)
    tools = WriterTools(lambda: chat, lambda program: Check("accepted", evaluation="batched"), lambda: [])
    config = yaml.safe_load((conf_dir() / "reward" / f"{writer}.yaml").read_text(encoding="utf-8"))
    return build(config, tools=tools).propose(make_task(task).description(), n=1)[0]


def play(task: str, program: RewardProgram, seeds: int) -> Any:
    """Episodes of the program with the robot's own planner."""
    config = yaml.safe_load((conf_dir() / "task" / f"{task}.yaml").read_text(encoding="utf-8"))
    robot = yaml.safe_load((conf_dir() / "robot" / f"{task.partition('/')[0]}.yaml").read_text(encoding="utf-8"))
    sampler = yaml.safe_load((conf_dir() / "planner" / "mppi.yaml").read_text(encoding="utf-8"))
    settings = {**sampler, **robot.get("planner", {})}
    planner = LockedPlanner(make_task(task), config, program, settings, robot["planning"])
    planner.start()
    try:
        return try_planner(planner, episodes=seeds, seed=0, replan_every=int(robot["replan_every"]))
    except EmbodiedError as error:
        raise RewardCodeError(f"{task}: {error}") from None
    finally:
        planner.close()


def _metric(row: dict[str, Any]) -> Row:
    rate = row["successes"] / row["episodes"] if row["episodes"] else None
    low, high = wilson_interval(row["successes"], row["episodes"]) if row["episodes"] else (None, None)
    return _row(f"{row['task']} by {row['writer']}: success", rate, low=low, high=high, row=row)


def _row(name: str, ours: Any, peer: Any = None, peer_name: str = "none", target: Any = None, **more: Any) -> Row:
    ok = None if target is None or ours is None else ours >= target
    return Row(name=name, ours=ours, peer=peer, peer_name=peer_name, ratio=None, target=target, ok=ok, **more)


def _summary(rows: list[dict[str, Any]], n_tasks: int) -> list[Row]:
    found = []
    for writer in WRITERS:
        mine = [row for row in rows if row["writer"] == writer and row["episodes"]]
        if not mine:
            continue
        solved = [row["task"] for row in mine if row["successes"] >= SOLVED * row["episodes"]]
        answers = sum(row["answers"] for row in mine)
        more = {
            "tasks_with_answers": len(mine),
            "tasks": n_tasks,
            "answers": answers,
            "answers_without_fault": answers - sum(row["faulty"] for row in mine),
            "unsolved": sorted({row["task"] for row in mine} - set(solved)),
        }
        share = PAPER.get(writer)
        target = TARGET if writer == "language_to_rewards" else None
        peer = None if share is None else share * 17
        found.append(_row(f"tasks solved by {writer}", len(solved), peer, "the paper, of 17", target, **more))
    return found


if __name__ == "__main__":
    main()
