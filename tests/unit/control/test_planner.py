"""The planner: exact rollouts of every kind of task, repeatable, warm-started, anytime, safe from divergence."""

from __future__ import annotations

import numpy as np
import pytest

from embodied.control.closed_loop import drive
from embodied.control.planner import SamplingPlanner
from embodied.control.predictive_sampling import PredictiveSampling
from embodied.core.clock import VirtualClock
from embodied.core.errors import ConfigError
from embodied.rl.writing import make_task
from embodied.sim.batch_env import BatchEnv
from embodied.sim.engine import BatchEngine

TASKS = ["hopper", "ant", "open_drawer", "push_cube", "metaworld/drawer-open"]


class Recorded:
    """A reward that keeps the worlds that it saw."""

    def __init__(self, function=None):
        self.worlds, self.actions, self.function = [], [], function

    def __call__(self, world, action):
        self.worlds.append(world)
        self.actions.append(action)
        value = np.zeros(world.batch_shape) if self.function is None else self.function(world, action)
        return value, {"value": value}


def planner_of(task, reward=None, **more):
    more = {"n_samples": 4, "min_samples": 2, "horizon_s": 5 * task.control_dt_s, "n_threads": 0, **more}
    return SamplingPlanner(task, reward or Recorded(), PredictiveSampling(), **more)


@pytest.mark.parametrize("name", TASKS)
def test_a_candidate_sees_what_the_environment_will_do(name):
    task, reward = make_task(name), Recorded()
    env = BatchEnv(task, n_envs=1, seed=3)
    env.reset()
    for _ in range(3):
        env.step(np.full((1, task.action_size), 0.3))
    planner = planner_of(task, reward)
    start, t0 = env.start_of(0), env.t0
    planner.reset(0, start.edits)
    planner.plan(start, t0)
    (world,), horizon = reward.worlds, planner.n_steps
    actions = reward.actions[0].reshape(4, horizon, -1)
    for candidate in (0, 2):
        state = env.get_state()
        for step in range(horizon):
            real = env.step(actions[candidate, step][None], autoreset=False).world
            row = candidate * horizon + step
            for path in task.schema.quantities:
                seen, happened = world.quantity(path)[row], real.quantity(path)[0]
                np.testing.assert_allclose(seen, happened, rtol=1e-6, atol=1e-6, err_msg=f"{path}, step {step}")
                before = world.previous.quantity(path)[row]
                np.testing.assert_allclose(before, real.previous.quantity(path)[0], rtol=1e-6, atol=1e-6, err_msg=path)
        env.set_state(state)


def test_rollouts_leave_the_engine_where_it_was():
    task = make_task("hopper")
    engine = BatchEngine(task.model, n_envs=3, n_substeps=task.n_substeps)
    before = engine.states.copy()
    engine.rollout(before[:2], np.zeros((2, 4, task.model.nu)))
    np.testing.assert_array_equal(engine.states, before)


def test_what_diverges_counts_for_nothing():
    task = make_task("hopper")
    engine = BatchEngine(task.model, n_envs=2, n_substeps=task.n_substeps)
    controls = np.zeros((2, 3, task.model.nu))
    states = engine.states.copy()
    states[1, 1 + task.model.nq] = 1e12
    _, _, good = engine.rollout(states, controls)
    assert good.tolist() == [True, False]


def test_a_wild_start_leaves_the_plan_and_hides_the_states_from_the_program():
    task, reward = make_task("hopper"), Recorded()
    env = BatchEnv(task, n_envs=1, seed=0)
    env.reset()
    start = env.start_of(0)
    start.states[0, 1 + task.model.nq] = 1e12
    plan = planner_of(task, reward).plan(start, env.t0)
    assert plan.n_diverged == plan.n_samples
    np.testing.assert_array_equal(plan.knots, 0.0)


def test_a_driven_episode_repeats_bit_by_bit_with_any_number_of_threads():
    def heights(threads):
        task = make_task("hopper")
        env = BatchEnv(task, n_envs=1, seed=1)
        env.reset()
        planner = planner_of(task, Recorded(lambda w, a: w.torso.position_z), n_threads=threads, n_samples=8)
        return [m.step.world.torso.position_z[0] for m in drive(env, planner, 12, replan_every=2)]

    assert heights(0) == heights(0) == heights(2)


def test_planning_pays():
    task = make_task("half_cheetah")

    def distance(planned):
        env = BatchEnv(task, n_envs=1, seed=1)
        env.reset()
        if not planned:
            return sum(env.step(np.zeros((1, 6))).world.torso.velocity_x[0] for _ in range(30)) * task.control_dt_s
        planner = planner_of(task, Recorded(lambda w, a: w.torso.velocity_x), n_samples=24, horizon_s=0.5)
        moments = drive(env, planner, 30, replan_every=2)
        return sum(m.step.world.torso.velocity_x[0] for m in moments) * task.control_dt_s

    assert distance(True) > distance(False) + 1.0


def test_the_plan_moves_with_time():
    task = make_task("hopper")
    env = BatchEnv(task, n_envs=1, seed=1)
    env.reset()
    planner = planner_of(task, n_knots=5)
    planner.plan(env.start_of(0), env.t0)
    planner.knots = np.arange(5.0)[:, None] / 5 * np.ones(task.action_size)
    env.step(np.zeros((1, task.action_size)))
    plan = planner.plan(env.start_of(0), env.t0)  # a constant reward: the plan itself wins
    np.testing.assert_allclose(plan.knots[:, 0], [0.2, 0.4, 0.6, 0.8, 0.8])
    assert plan.action(plan.t_s - 1.0, task.control_dt_s) is not None
    np.testing.assert_array_equal(plan.action(plan.t_s + 9.0, task.control_dt_s), plan.actions[-1])


def test_late_plans_take_fewer_candidates():
    clock, task = VirtualClock(), make_task("hopper")
    env = BatchEnv(task, n_envs=1, seed=1)
    env.reset()

    def costly(world, action):
        clock.advance_s(1e-3 * len(action) / 5)  # a millisecond per candidate of five steps
        return np.zeros(world.batch_shape)

    planner = planner_of(task, Recorded(costly), n_samples=32, clock=clock)
    counts = [planner.plan(env.start_of(0), env.t0, budget_s=budget).n_samples for budget in (1, 1, 0.016, 0.001)]
    assert counts == [32, 32, 16, 2]


def test_wrong_settings_are_refused():
    task = make_task("hopper")
    wrongs = {"n_samples": 1, "min_samples": 50, "horizon_s": 0.0, "spline": "quintic", "physics_dt_s": 0.003}
    for wrong in ({name: value} for name, value in wrongs.items()):
        with pytest.raises(ConfigError):
            planner_of(task, **wrong)
    with pytest.raises(ConfigError, match="one environment"):
        next(drive(BatchEnv(task, n_envs=2, seed=0), planner_of(task), 3))
