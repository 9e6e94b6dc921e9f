"""Wall-clock time to 90% success: `embodied train` against plain Stable-Baselines3 on process environments.

Ours: the whole command from its start (recorded answer, check, screen, locked PPO on the batch engine, evaluation).
Peers: SB3's SAC with Text2Reward's published settings and SB3's PPO with its defaults, 8 environments in a
`SubprocVecEnv`: Meta-World's own environments with their own reward, and for the tabletop `TaskEnv` with the expert
reward. All policies are judged alike, by our evaluator (equal to the package's environment,
`tests/conformance/test_metaworld_parity.py`) on 20 episodes; the peers' clock stands still meanwhile, ours runs on.
A peer that has not got there after `CAP` times our time is stopped: the ratio is then a bound.

    python benchmarks/time_to_success.py [--quick] [--tasks open_drawer,...]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import common

from embodied.core.runs import find_runs
from embodied.rl.writing import make_task
from embodied.sim.evaluation import evaluate

TASKS = ("open_drawer", "metaworld/window-close", "metaworld/button-press")
SUCCESS, EPISODES, SEED, N_ENVS, CAP, TARGET = 0.9, 20, 0, 8, 3.2, 1 / 3
EVALUATION_SEED = 50_000_000
# Text2Reward's published settings for Meta-World (its run_metaworld/sac.py).
SAC = {
    "policy_kwargs": {"net_arch": [256, 256, 256]}, "batch_size": 512, "gamma": 0.99, "learning_rate": 3e-4,
    "tau": 0.005, "target_update_interval": 2, "learning_starts": 4000, "ent_coef": "auto_0.1",
}  # fmt: skip
EVALUATE_EVERY = 16_000


def ours(task: str, folder: Path) -> dict[str, Any]:
    """Runs the command until one of its own evaluations reaches the success; stops it there."""
    begin = time.monotonic()
    words = [f"task={task}", f"seed={SEED}", f"runs_dir={folder}", "video.episodes=0", "baselines=[]", "n_threads=2",
             f"evaluation.selection_episodes={EPISODES}", "evaluation.candidates=24"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "embodied.commands.main", "train", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        while process.poll() is None:
            time.sleep(0.2)
            for run in find_runs(folder):
                rows = [r for r in run.metrics() if r["kind"] == "evaluation" and r["rate"] >= SUCCESS]
                if rows:
                    return {"seconds": time.monotonic() - begin, "steps": rows[0]["step"], "rate": rows[0]["rate"]}
        return {"seconds": None, "steps": None, "rate": None}
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


def make_env(task: str, seed: int) -> Any:
    """One environment as a user of Stable-Baselines3 makes it."""
    import gymnasium

    if not task.startswith("metaworld/"):
        from embodied.sim.gym_env import TaskEnv

        return TaskEnv(make_task(task))
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    env = ALL_V3_ENVIRONMENTS[f"{task.removeprefix('metaworld/')}-v3"]()
    env._partially_observable, env._freeze_rand_vec, env._set_task_called = False, False, True
    env.__dict__.pop("sawyer_observation_space", None)
    env.observation_space, env.seeded_rand_vec = env.sawyer_observation_space, True
    env.seed(seed)
    return gymnasium.wrappers.TimeLimit(env, 500)


def peer(task: str, algorithm: str, cap_s: float) -> dict[str, Any]:
    """Trains a peer until it succeeds or its time is up; evaluation does not count as its time."""
    import numpy as np
    from stable_baselines3 import PPO
    from stable_baselines3 import SAC as SacAlgorithm
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import SubprocVecEnv

    begin = time.monotonic()
    env = SubprocVecEnv([lambda i=i: make_env(task, i) for i in range(N_ENVS)])
    if algorithm == "sac":
        model = SacAlgorithm("MlpPolicy", env, seed=SEED, device="cpu", **SAC)
    else:
        model = PPO("MlpPolicy", env, seed=SEED, device="cpu")
    judged = make_task(task)
    found: dict[str, Any] = {"seconds": None, "steps": None, "rate": 0.0}

    class Until(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.judging, self.next = 0.0, EVALUATE_EVERY

        def _on_step(self) -> bool:
            spent = time.monotonic() - begin - self.judging
            if self.num_timesteps >= self.next:
                self.next += EVALUATE_EVERY
                start = time.monotonic()

                def act(observation: np.ndarray, _: Any) -> np.ndarray:
                    return model.predict(observation.astype(np.float32), deterministic=True)[0].astype(float)

                rate = evaluate(judged, act, episodes=EPISODES, seed=EVALUATION_SEED).rate
                self.judging += time.monotonic() - start
                found["rate"], found["steps"] = rate, self.num_timesteps
                if rate >= SUCCESS:
                    found["seconds"] = spent
                    return False
            return spent < cap_s

    try:
        model.learn(10_000_000, callback=Until())
    finally:
        env.close()
    return found


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one task")
    parser.add_argument("--tasks", default="")
    given = parser.parse_args()
    tasks = given.tasks.split(",") if given.tasks else (TASKS[:1] if given.quick else TASKS)
    metrics = []
    for task in tasks:
        with tempfile.TemporaryDirectory() as folder:
            mine = ours(task, Path(folder))
        print(task, "ours", mine, flush=True)
        if mine["seconds"] is None:
            metrics.append(common.Metric(f"{task}: s to 90%", None, None, "ours did not get there", None, None, mine))
            continue
        for algorithm, name in (("sac", "SB3 SAC, Text2Reward's settings"), ("ppo", "SB3 PPO, defaults")):
            cap = CAP * mine["seconds"]
            theirs = peer(task, algorithm, cap)
            print(task, algorithm, theirs, flush=True)
            reached = theirs["seconds"] is not None
            time_s = theirs["seconds"] if reached else cap
            more = {"reached": reached, "peer_rate": theirs["rate"], "peer_steps": theirs["steps"]}
            more |= {"our_steps": mine["steps"], "our_rate": mine["rate"], "target_is": "at most"}
            ratio = mine["seconds"] / time_s
            label = name if reached else f"{name} (stopped: not yet there)"
            metrics.append(Timed(f"{task}: s to 90%", mine["seconds"], time_s, label, ratio, TARGET, more))
    return common.finish("time_to_success", metrics, seeds=[SEED], quick=given.quick)


class Timed(common.Metric):
    """A ratio of times: the smaller the better."""

    @property
    def ok(self) -> bool | None:
        """Whether ours takes at most the target's share of the peer's time."""
        return None if self.ratio is None or self.target is None else self.ratio <= self.target


if __name__ == "__main__":
    sys.exit(main())
