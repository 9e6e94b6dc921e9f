"""The planner: candidate plans are rolled out in MuJoCo, a reward program scores them, a sampler makes the next plan.

Anytime: within a time budget it takes as many candidates as fit, never fewer than `min_samples`; the caller keeps the
plan that it has until the next one is there. Seeded and, without a budget, repeatable bit by bit.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embodied.control.sampler import Sampler, positive
from embodied.control.spline import shift_basis, step_basis
from embodied.core.clock import Clock, MonotonicClock
from embodied.core.errors import ConfigError
from embodied.core.reward import BoundReward
from embodied.sim.engine import BatchEngine
from embodied.sim.task import ModelEdit, Start, Task


@dataclass(frozen=True)
class Plan:
    """A plan and how it was found.

    Attributes:
        knots: `(K, A)` in [-1, 1].
        actions: `(H, A)`, one per control step.
        t_s: simulation time at which its first action belongs.
        n_samples: candidates rolled out, over all iterations.
        n_diverged: how many of them left the finite numbers.
        best: the largest return among the last candidates.
        terms: mean over the horizon of each weighted term along the last iteration's best candidate.
    """

    knots: np.ndarray
    actions: np.ndarray
    t_s: float
    n_samples: int
    n_diverged: int
    best: float
    terms: Mapping[str, float]

    def action(self, t_s: float, control_dt_s: float) -> np.ndarray:
        """The action `(A,)` at a simulation time; before the plan its first one, after it its last one."""
        step = int(np.floor((t_s - self.t_s) / control_dt_s + 1e-6))
        return self.actions[min(max(step, 0), len(self.actions) - 1)]


class SamplingPlanner:
    """Plans for one environment of a task.

    Args:
        task: the task; any that runs on the batch engine.
        reward: a bound reward program; its total is what is maximised.
        sampler: how plans are varied and chosen.
        n_samples: candidates per iteration.
        horizon_s: how far a plan looks ahead [s].
        n_knots: knots of the spline.
        spline: `zero`, `linear` or `cubic`.
        n_iterations: rounds of propose and update per plan.
        n_threads: C++ threads; 0 plans on the calling thread.
        min_samples: fewest candidates under a time budget.
        physics_dt_s: physics timestep of the rollouts [s], a divisor of the task's control step; None takes the task's
            own. A coarser one plans faster and sees a little less truly.
        seed: root of all randomness.
        clock: what measures the time budget.
    """

    def __init__(
        self,
        task: Task,
        reward: BoundReward,
        sampler: Sampler,
        *,
        n_samples: int = 32,
        horizon_s: float = 0.35,
        n_knots: int = 4,
        spline: str = "linear",
        n_iterations: int = 1,
        n_threads: int = 2,
        min_samples: int = 4,
        physics_dt_s: float | None = None,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        positive("SamplingPlanner", horizon_s=horizon_s, n_iterations=n_iterations, n_knots=n_knots)
        if not 2 <= min_samples <= n_samples:
            raise ConfigError(f"min_samples={min_samples} must lie between 2 and n_samples={n_samples}")
        self.task, self.reward, self.sampler = task, reward, sampler
        self.n_samples, self.min_samples, self.n_iterations = n_samples, min_samples, n_iterations
        self.n_steps = max(1, round(horizon_s / task.control_dt_s))
        self.n_knots, self.spline, self.n_threads = min(n_knots, self.n_steps), spline, n_threads
        self._model, self._n_substeps = task.model, task.n_substeps
        if physics_dt_s is not None:
            self._n_substeps = round(task.control_dt_s / physics_dt_s)
            if abs(self._n_substeps * physics_dt_s - task.control_dt_s) > 1e-6 or self._n_substeps < 1:
                raise ConfigError(f"physics_dt_s={physics_dt_s} must divide control_dt_s={task.control_dt_s}")
            self._model = copy.copy(task.model)
            self._model.opt.timestep = physics_dt_s
        self._to_steps = step_basis(self.n_knots, self.n_steps, spline)
        self._engine: BatchEngine | None = None
        self._clock: Clock = clock or MonotonicClock()
        self._cost_s = 0.0  # of one candidate, smoothed
        self.reset(seed)

    def reset(self, seed: int, edits: Sequence[ModelEdit] = ()) -> None:
        """Forgets the plan and begins the stream of random numbers anew; `edits` are those of the episode's model."""
        self.rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
        self.knots = np.zeros((self.n_knots, self.task.action_size))
        self.sampler.reset(self.n_knots, self.task.action_size)
        self._t_s: float | None = None
        if self._engine is not None and not edits:
            return
        self.close()
        self._engine = BatchEngine(
            self._model,
            n_envs=self.n_samples,
            n_substeps=self._n_substeps,
            n_threads=self.n_threads,
            control_spec=self.task.control_spec,
        )
        for edit in edits:
            for row in range(self.n_samples):
                self._engine.edit(row, edit.field, edit.index, edit.values[0])
        self._engine.settle()

    def plan(self, start: Start, t0: np.ndarray, *, budget_s: float | None = None) -> Plan:
        """Improves the plan from the present state of one environment.

        Args:
            start: state `(1, n_state)`, parameters and last control of that environment (`BatchEnv.start_of`).
            t0: time at which its episode began `(1,)` [s].
            budget_s: how long planning may take; None takes all candidates.

        Raises:
            RewardCodeError: the program fails on a state that a candidate reaches.
        """
        t_s = float(start.states[0, 0])
        if self._t_s is not None and t_s > self._t_s:
            elapsed = (t_s - self._t_s) / self.task.control_dt_s
            weights = shift_basis(self.n_knots, self.n_steps, self.spline, elapsed)
            self.knots = np.clip(weights @ self.knots, -1.0, 1.0)
            self.sampler.shift(weights)
        self._t_s = t_s
        used = diverged = 0
        for _ in range(self.n_iterations):
            n = self._affordable(budget_s)
            begin = self._clock.now_s()
            candidates = self.sampler.propose(self.knots, n, self.rng)
            returns, terms, good = self._score(candidates, start, t0)
            self.knots = self.sampler.update(candidates, returns)
            spent = (self._clock.now_s() - begin) / n
            self._cost_s = spent if self._cost_s == 0.0 else 0.8 * self._cost_s + 0.2 * spent
            used, diverged = used + n, diverged + int((~good).sum())
        best = int(np.argmax(returns))
        return Plan(
            knots=self.knots.copy(),
            actions=self._to_steps @ self.knots,
            t_s=t_s,
            n_samples=used,
            n_diverged=diverged,
            best=float(returns[best]),
            terms={name: float(value[best].mean()) for name, value in terms.items()},
        )

    def _affordable(self, budget_s: float | None) -> int:
        if budget_s is None or self._cost_s == 0.0:
            return self.n_samples
        return int(np.clip(budget_s / self.n_iterations / self._cost_s, self.min_samples, self.n_samples))

    def _score(
        self, candidates: np.ndarray, start: Start, t0: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
        """Returns `(n,)`, the weighted terms `(n, H)` by name, and which rollouts stayed finite `(n,)`."""
        n, horizon = len(candidates), self.n_steps
        actions = np.einsum("hk,nka->nha", self._to_steps, candidates)
        states, sensors, good = self._play(actions, start)
        if not good.all():
            # The program must not see what diverged; those rows stand still and count for nothing.
            states[~good], sensors[~good] = states[~good, :1], sensors[~good, :1]
        many = n * horizon
        parameters = {k: np.broadcast_to(v, (many, *v.shape[1:])) for k, v in start.parameters.items()}
        began = np.broadcast_to(t0, (many,))

        def world_at(points: slice, previous=None):
            return self.task.world(
                states[:, points].reshape(many, -1), sensors[:, points].reshape(many, -1), parameters, began, previous
            )

        world = world_at(slice(1, None), world_at(slice(0, -1)))
        total, terms = self.reward(world, actions.reshape(many, -1))
        returns = np.where(good, total.reshape(n, horizon).mean(axis=1), -np.inf)
        return returns, {name: value.reshape(n, horizon) for name, value in terms.items()}, good

    def _play(self, actions: np.ndarray, start: Start) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert self._engine is not None
        n, horizon = actions.shape[:2]
        states = np.repeat(start.states, n, axis=0)
        control = self._engine.initial_control[None] if start.control is None else start.control
        control = np.repeat(control, n, axis=0)
        if not self.task.control_reads_state:
            flat = self.task.control(actions.reshape(n * horizon, -1), states[:1], control[:1])
            return self._engine.rollout(states, flat.reshape(n, horizon, -1))
        path, seen, good = [], [], np.ones(n, dtype=bool)
        for step in range(horizon):
            control = self.task.control(actions[:, step], states, control)
            two, sensors, fine = self._engine.rollout(states, control[:, None])
            path.append(states)
            seen.append(sensors[:, 0])
            good &= fine
            states = np.where(good[:, None], two[:, 1], states)
        path.append(states)
        seen.append(sensors[:, 1])
        return np.stack(path, axis=1), np.stack(seen, axis=1), good

    def close(self) -> None:
        """Ends the engine's threads."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
