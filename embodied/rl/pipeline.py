"""The main job: a sentence becomes reward code, a trained policy and a report (Text2Reward).

Write → check → try under the light lock → screen → train under the trainer lock → measure → report. Every stage
leaves its result in the run folder before the next begins, so that `resume` goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from embodied.core.errors import ConfigError
from embodied.core.reward import RewardProgram
from embodied.rl.demonstrations import load_demonstrations
from embodied.rl.job import FINAL_SEED, SELECTION_SEED, Job, Listener, Trainer
from embodied.rl.policy import MLPPolicy
from embodied.rl.tensorboard import Scalars
from embodied.rl.writing import Writing
from embodied.sim.actors import random_actor
from embodied.sim.evaluation import Evaluation, evaluate

BASELINES = ("expert", "random")


def _silent(job: str, row: Mapping[str, Any]) -> None:
    """Hears nothing."""


@dataclass
class Outcome:
    """What a training led to.

    Attributes:
        evaluations: final success by row name (`written`, `expert`, `random`).
        policies: the chosen policies by job name.
        steps: the step of the chosen candidate by job name.
        wall_s: duration of the whole command [s].
    """

    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    policies: dict[str, MLPPolicy] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    wall_s: float = 0.0


@dataclass
class Pipeline(Writing):
    """One run of the main job.

    Args:
        config, run, say, trusted_packages, import_paths: as for `Writing`.
        listener: told each row of training progress.
    """

    listener: Listener = _silent

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_numbers(self.config)
        unknown = set(self.config["baselines"]) - set(BASELINES)
        if unknown:
            raise ConfigError(f"baselines={sorted(unknown)} unknown; valid: {', '.join(BASELINES)}")

    def train(self, program: RewardProgram) -> Outcome:
        """Trains with the written reward and, where asked, with the expert reward at the same budget."""
        begin = time.monotonic()
        evaluation = self.config["evaluation"]
        trainer = Trainer(
            self.task,
            seed=int(self.config["seed"]),
            selection_episodes=int(evaluation["selection_episodes"]),
            listener=self._listen,
            allow_missing=self.config["allow_missing_sandbox_layers"],
            packages=self.trusted_packages,
            import_paths=self.import_paths,
        )
        jobs = [self._job("written", program)]
        if "expert" in self.config["baselines"] and program.sha256 != self.task.expert_reward().sha256:
            jobs.append(self._job("expert", self.task.expert_reward()))
        self.say(f"training {' and '.join(j.name for j in jobs)}: {jobs[0].request['total_steps']:,} steps each")
        try:
            trainer.run(jobs)
        finally:
            self._scalars.close()
        outcome = Outcome()
        for job in jobs:
            policy, step = trainer.best(job)
            outcome.policies[job.name], outcome.steps[job.name] = policy, step
            outcome.evaluations[job.name] = trainer.report_success(policy, int(evaluation["episodes"]))
        if "random" in self.config["baselines"]:
            outcome.evaluations["random"] = evaluate(
                self.task,
                random_actor(self.task, 0),
                episodes=int(evaluation["episodes"]),
                seed=FINAL_SEED + int(self.config["seed"]),
            )
        outcome.policies["written"].save(self.run / "policy")
        outcome.wall_s = time.monotonic() - begin
        return outcome

    def _job(self, name: str, program: RewardProgram) -> Job:
        trainer, evaluation = self.config["trainer"], self.config["evaluation"]
        steps = int(trainer["total_steps"])
        request = {
            "task": self.task_config,
            "randomization": self.config.get("randomization"),
            "algorithm": trainer["algorithm"],
            "settings": trainer["settings"],
            "seed": int(self.config["seed"]),
            "n_envs": int(trainer["n_envs"]),
            "n_threads": int(self.config["n_threads"]),
            "total_steps": steps,
            "normalize_observations": trainer["normalize_observations"],
            "normalize_rewards": trainer["normalize_rewards"],
            "freeze_after": trainer["freeze_after"],
            "checkpoint_every_steps": int(self.config["checkpoint_every_steps"]),
            "policy_every_steps": max(1, steps // int(evaluation["candidates"])),
            "progress_every_steps": max(1, steps // 100),
            "trusted_packages": list(self.trusted_packages),
            "demonstrations": self._demonstrations(),
        }
        return Job(name, self.run / "checkpoints" / name, program, request)

    def _demonstrations(self) -> list[str]:
        """The episodes' folders, looked at before anything is started."""
        folders = [str(Path(folder).resolve()) for folder in self.config.get("demonstrations", ())]
        if folders and self.config["trainer"]["algorithm"] != "sac":
            raise ConfigError("demonstrations go into a replay buffer: use trainer=sac")
        load_demonstrations(folders, self.task)
        return folders

    @cached_property
    def _scalars(self) -> Scalars:
        return Scalars(self.run / "tb")

    def _listen(self, job: str, row: Mapping[str, Any]) -> None:
        if row.get("kind") in ("progress", "evaluation"):
            self.run.metric({"job": job, **row})
            self._scalars.add(job, row)
        else:
            self.run.event(f"training_{row.get('kind')}", job=job, **{k: v for k, v in row.items() if k != "kind"})
        self.listener(job, row)


def _check_numbers(config: Mapping[str, Any]) -> None:
    """Numbers that would otherwise show as wrong only after a language model has been paid."""
    counts = {
        "trainer.total_steps": config["trainer"]["total_steps"],
        "trainer.n_envs": config["trainer"]["n_envs"],
        "checkpoint_every_steps": config["checkpoint_every_steps"],
        **{f"evaluation.{key}": config["evaluation"][key] for key in ("episodes", "selection_episodes", "candidates")},
    }
    for key, value in counts.items():
        if int(value) < 1:
            raise ConfigError(f"{key}={value} must be at least 1")
    if not 0 <= int(config["seed"]) < SELECTION_SEED:  # evaluation's starts must be other ones than training's
        raise ConfigError(f"seed={config['seed']} must lie between 0 and {SELECTION_SEED - 1}")


def result_of(pipeline: Pipeline, program: RewardProgram, outcome: Outcome) -> dict[str, Any]:
    """What `result.json` holds."""
    config = pipeline.config
    return {
        "task": pipeline.task.name,
        "instruction": pipeline.task.instruction,
        "reward": {"writer": program.writer, "sha256": program.sha256, "evaluation": program.evaluation},
        "round": len(pipeline.rounds),
        "trainer": config["trainer"]["algorithm"],
        "seed": config["seed"],
        "steps": config["trainer"]["total_steps"],
        "chosen_step": outcome.steps["written"],
        "success": outcome.evaluations["written"].to_json(),
        "baselines": {k: v.to_json() for k, v in outcome.evaluations.items() if k != "written"},
        "wall_s": round(outcome.wall_s, 1),
        "policy": "policy",
        "report": "report.html",
    }
