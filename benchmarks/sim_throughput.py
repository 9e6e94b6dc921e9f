"""Environment steps per second with exact reads, observation, reward and reset, against the limit and the peers.

The limit is `mujoco.rollout` alone on the same states, controls, models and threads: no reads, no observation,
no reward, no resets. Our loop and the limit alternate every 20 steps, the peers every round, in one run. Where
others use the machine (the limit's threads get less than 1.6 cores), ratios are taken per CPU-second; both are
in the result.

    python benchmarks/sim_throughput.py [--quick]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import common
import gymnasium
import mujoco
import numpy as np
import yaml
from mujoco import rollout

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.sim.batch_env import BatchEnv

N_ENVS, N_THREADS, N_WORKERS, SEED, CHUNK = 64, 2, 8, 0, 20
LIMIT_TARGETS = {"ant": 0.85, "half_cheetah": 0.78, "hopper": None, "open_drawer": 0.85}
GYM_IDS = {"ant": "Ant-v5", "half_cheetah": "HalfCheetah-v5", "hopper": "Hopper-v5"}
SWITCHES = {"ant": {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}}
POOL_SWITCHES = {"ant": {"use_contact_force": False}}
PEER_TARGETS = {"SubprocVecEnv": 3.0, "EnvPool": 1.0}


@dataclass
class Side:
    """One contender: `run(k)` makes k batched steps and returns how many environment steps that was."""

    name: str
    run: Callable[[int], int]
    close: Callable[[], None]
    rates: list[float] = field(default_factory=list)
    cpu_rates: list[float] = field(default_factory=list)

    cores: list[float] = field(default_factory=list)

    def measure(self, steps: int) -> None:
        """Adds one round: steps per wall second and per CPU second."""
        made, wall, cpu = common.timed(lambda: self.run(steps))
        self.cores.append(cpu / wall)
        self.rates.append(made / wall)
        self.cpu_rates.append(made / cpu if cpu > 0 else float("nan"))


class Ours:
    """Our loop, and the limit on what it did."""

    def __init__(self, name: str, rng: np.random.Generator) -> None:
        self.task = build(yaml.safe_load((conf_dir() / "task" / f"{name}.yaml").read_text()))
        self.env = BatchEnv(self.task, n_envs=N_ENVS, seed=SEED, n_threads=N_THREADS)
        self.reward = self.task.expert_reward().bind(reviewed=True)
        self.rng, engine = rng, self.env.engine
        self.env.reset()
        self.log: list[tuple[np.ndarray, np.ndarray]] = []
        step = engine.step

        def logged(control: np.ndarray) -> np.ndarray:
            self.log.append((engine.states, control))  # neither is written again
            return step(control)

        engine.step = logged
        k = self.task.n_substeps
        self.pool = rollout.Rollout(nthread=N_THREADS)
        self.data = [mujoco.MjData(self.task.model) for _ in range(N_THREADS)]
        self.out = np.empty((N_ENVS, k, engine.n_state)), np.empty((N_ENVS, k, self.task.model.nsensordata))
        self.control = np.empty((N_ENVS, k, engine.n_control))

    def run(self, steps: int) -> int:
        """Steps with reads, observation, reward and resets."""
        self.log.clear()
        actions = self.rng.uniform(-1, 1, (steps, N_ENVS, self.task.action_size))
        for action in actions:
            step = self.env.step(action)
            self.reward(step.world, step.action)
        return steps * N_ENVS

    def limit(self, _: int) -> int:
        """The engine alone, over the states and controls of the last `run`."""
        models = [self.env.engine.model_of(row) for row in range(N_ENVS)]
        states, sensors = self.out
        for given, control in self.log:
            self.control[:] = control[:, None, :]
            self.pool.rollout(
                models,
                self.data,
                given,
                self.control,
                control_spec=self.task.control_spec,
                skip_checks=True,
                nstep=self.task.n_substeps,
                state=states,
                sensordata=sensors,
            )
        return len(self.log) * N_ENVS

    def close(self) -> None:
        """Ends both thread pools."""
        self.env.close()
        self.pool.close()


def vector_side(kind: str, name: str, rng: np.random.Generator) -> Side:
    """Gymnasium's own vector environments, one environment a process where they are asynchronous."""
    n = N_ENVS if kind == "SyncVectorEnv" else N_WORKERS

    def one() -> gymnasium.Env:
        return gymnasium.make(GYM_IDS[name], **SWITCHES.get(name, {}))

    maker = getattr(gymnasium.vector, kind)
    env = maker([one] * n)
    env.reset(seed=SEED)
    shape = env.action_space.shape

    def run(steps: int) -> int:
        for action in rng.uniform(-1, 1, (steps, *shape)):
            env.step(action)
        return steps * n

    return Side(kind, run, env.close)


def subproc_side(name: str, rng: np.random.Generator) -> Side:
    """Stable-Baselines3's processes."""
    from stable_baselines3.common.vec_env import SubprocVecEnv

    env = SubprocVecEnv([lambda: gymnasium.make(GYM_IDS[name], **SWITCHES.get(name, {}))] * N_WORKERS)
    env.reset()
    shape = (N_WORKERS, *env.action_space.shape)

    def run(steps: int) -> int:
        for action in rng.uniform(-1, 1, (steps, *shape)):
            env.step(action)
        return steps * N_WORKERS

    return Side("SubprocVecEnv", run, env.close)


def envpool_side(name: str, rng: np.random.Generator) -> Side:
    """EnvPool's C++ environments (it links a MuJoCo of its own)."""
    import envpool

    env = envpool.make(
        GYM_IDS[name],
        env_type="gymnasium",
        num_envs=N_ENVS,
        num_threads=N_THREADS,
        seed=SEED,
        **POOL_SWITCHES.get(name, {}),
    )
    env.reset()
    shape = (N_ENVS, *env.action_space.shape)

    def run(steps: int) -> int:
        for action in rng.uniform(-1, 1, (steps, *shape)):
            env.step(action)
        return steps * N_ENVS

    return Side("EnvPool", run, env.close)


def peers(name: str, rng: np.random.Generator) -> tuple[list[Side], dict[str, str]]:
    """The peers that could be made, and why the others could not."""
    made, missing = [], {}
    makers = {
        "SyncVectorEnv": lambda: vector_side("SyncVectorEnv", name, rng),
        "AsyncVectorEnv": lambda: vector_side("AsyncVectorEnv", name, rng),
        "SubprocVecEnv": lambda: subproc_side(name, rng),
        "EnvPool": lambda: envpool_side(name, rng),
    }
    for kind, make in makers.items():
        try:
            made.append(make())
        except Exception as error:  # a peer that is broken here is a finding, not a failure of ours
            missing[kind] = f"{type(error).__name__}: {error}"
    return made, missing


def steps_for(side: Side, seconds: float) -> int:
    """How many batched steps fill about `seconds`, after a warm-up."""
    side.run(3)
    begin = time.perf_counter()
    side.run(3)
    return max(3, round(3 * seconds / (time.perf_counter() - begin)))


def measure(name: str, rounds: int, seconds: float, budget_s: float) -> list[common.Metric]:
    """All comparisons of one task."""
    rng = np.random.default_rng(SEED)
    loop = Ours(name, rng)
    ours, limit = Side("ours", loop.run, loop.close), Side("limit", loop.limit, lambda: None)
    others, missing = peers(name, rng) if name in GYM_IDS else ([], {})
    lengths = {side.name: steps_for(side, seconds) for side in others}
    chunks = max(2, round(steps_for(ours, seconds) / CHUNK))
    end = time.monotonic() + budget_s
    for _ in range(rounds):
        if time.monotonic() > end and ours.rates:
            break  # a machine in use by others: fewer rounds
        for _ in range(chunks):
            ours.measure(CHUNK)
            limit.measure(CHUNK)
        for side in others:
            side.measure(lengths[side.name])
    contended = statistics.median(limit.cores) < 0.8 * N_THREADS
    metrics = [compared(name, ours, limit, LIMIT_TARGETS[name], "mujoco.rollout alone", contended)]
    metrics += [compared(name, ours, s, PEER_TARGETS.get(s.name), s.name + version(s.name), contended) for s in others]
    metrics += [
        common.Metric(f"{name}: env steps/s", None, None, f"{kind} not run: {why}", None, None, {})
        for kind, why in missing.items()
    ]
    for side in (ours, limit, *others):
        side.close()
    return metrics


def compared(name: str, ours: Side, peer: Side, target: float | None, peer_name: str, contended: bool) -> common.Metric:
    """Medians of both sides; against the limit the median of the ratios of neighbouring chunks."""
    paired = len(peer.rates) == len(ours.rates)

    def ratio(mine: list[float], theirs: list[float]) -> float:
        if paired:
            return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
        return statistics.median(mine) / statistics.median(theirs)

    wall, cpu = ratio(ours.rates, peer.rates), ratio(ours.cpu_rates, peer.cpu_rates)
    more = {
        "judged_by": "cpu" if contended else "wall",
        "ratio_per_wall_second": wall,
        "ratio_per_cpu_second": cpu,
        "ours_per_cpu_second": statistics.median(ours.cpu_rates),
        "peer_per_cpu_second": statistics.median(peer.cpu_rates),
    }
    return common.Metric(
        f"{name}: env steps/s",
        statistics.median(ours.rates),
        statistics.median(peer.rates),
        peer_name,
        cpu if contended else wall,
        target,
        more,
    )


def version(name: str) -> str:
    """The peer's package and version."""
    package = {"EnvPool": "envpool", "SubprocVecEnv": "stable-baselines3"}.get(name, "gymnasium")
    return f" ({package} {importlib.metadata.version(package)})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="at most two minutes")
    quick = parser.parse_args().quick
    rounds, seconds, budget_s = (5, 0.7, 18.0) if quick else (15, 2.0, 300.0)
    metrics = []
    for name in LIMIT_TARGETS:
        if (conf_dir() / "task" / f"{name}.yaml").is_file():
            metrics += measure(name, rounds, seconds, budget_s)
    for metric in metrics:
        row = metric.to_json()
        sys.stdout.write(
            f"{row['name']:28} {row['ours']} against {row['peer']} of {row['peer_name']}: per wall second"
            f" {row.get('ratio_per_wall_second')}, per CPU second {row.get('ratio_per_cpu_second')},"
            f" target {row['target']} ({row.get('judged_by')})\n"
        )
    settings = {
        "n_envs": N_ENVS,
        "n_threads": N_THREADS,
        "n_workers_of_process_peers": N_WORKERS,
        "quick": quick,
        "actions": "uniform random",
    }
    return common.finish("sim_throughput", metrics, seeds=[SEED], settings=settings)


if __name__ == "__main__":
    sys.exit(main())
