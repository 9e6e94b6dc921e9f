"""Ready-made skills: calls become programs, in their order; faults name what is valid; prompts name every skill."""

from __future__ import annotations

import re

import numpy as np
import pytest

from embodied.core.errors import RewardCodeError
from embodied.core.reward import RewardProgram
from embodied.rewards.language_to_rewards import prompt
from embodied.rewards.manipulator_skills import MOST_SKILLS, ManipulatorSkills
from embodied.rewards.motion_code import motion_of, run_motion_code
from embodied.rewards.quadruped_skills import QuadrupedSkills
from embodied.rl.writing import make_task
from embodied.sandbox.static_check import check_source
from embodied.sim.batch_env import BatchEnv

TASKS = {"manipulator_skills": "manipulator/lift", "quadruped_skills": "quadruped/sit_down"}


def world_of(task, seconds):
    """One world some time after the start, the robot at rest."""
    env = BatchEnv(task, n_envs=2, seed=0)
    env.reset()
    action = np.zeros((2, task.action_size))
    for _ in range(round(seconds / task.control_dt_s)):
        world = env.step(action, autoreset=False).world
    env.close()
    return world, action


def said(robot, *lines):
    """The program of a script, and its reward bound."""
    source = run_motion_code("\n".join(["reset_reward()", *lines, "execute_plan()"]), robot, title="t")
    check_source(source, make_task(TASKS[robot]).schema)
    return RewardProgram(source, "language_to_rewards", TASKS[robot], evaluation="batched").bind(reviewed=True)


@pytest.mark.parametrize("robot", sorted(TASKS))
def test_prompts_name_every_skill_and_no_other(robot):
    text = prompt(f"{robot}_coder")
    assert set(re.findall(r"^def (\w+)\(", text, flags=re.M)) == set(motion_of(robot).calls())


def test_skills_are_done_in_turn():
    task = make_task(TASKS["manipulator_skills"])
    bound = said(
        "manipulator_skills", "end_effector_to([0.6, 0, 0.1])", "end_effector_close()", "end_effector_to('apple', 0.5)"
    )
    for seconds, target, openness in ((1.0, [0.6, 0.0, 0.1], 1.0), (3.0, [0.6, 0.0, 0.1], 0.0), (5.0, None, 0.0)):
        world, action = world_of(task, seconds)
        if target is None:
            target = np.array(world.apple.position)
            target[..., 2] = 0.5
        away = np.linalg.norm(world.palm.position - np.array(target), axis=-1)
        _, terms = bound(world, action)
        assert np.allclose(terms["palm"], -(np.hypot(away, 0.02) - 0.02) * 5.0)
        off = np.abs(world.fingers.set_openness - openness)
        assert np.allclose(terms["fingers"], -(np.hypot(off, 0.02) - 0.02) * 2.0)


def test_after_the_last_skill_it_goes_on():
    task = make_task(TASKS["manipulator_skills"])
    bound, (world, action) = said("manipulator_skills", "end_effector_to('rest_position')"), world_of(task, 4.0)
    away = np.linalg.norm(world.palm.position - world.rest_position, axis=-1)
    assert np.allclose(bound(world, action)[1]["palm"], -(np.hypot(away, 0.02) - 0.02) * 5.0)


@pytest.mark.parametrize(
    ("robot", "line", "message"),
    [
        ("manipulator_skills", "end_effector_to('cup')", r"'cup' is unknown; valid are apple, box"),
        ("manipulator_skills", "end_effector_to('palm')", r"'palm' is unknown"),
        ("manipulator_skills", "end_effector_to([0.5, 0.1])", r"must be \[x, y, z\]"),
        ("manipulator_skills", "end_effector_to([0.5, 0.1, 3])", r"z=3 is outside \[0, 1\]"),
        ("manipulator_skills", "end_effector_to('apple', 2)", r"height=2 is outside \[0, 1\]"),
        ("manipulator_skills", "", r"must call a skill"),
        ("manipulator_skills", "\n".join(["end_effector_open()"] * (MOST_SKILLS + 1)), r"more than 20 skills"),
        ("quadruped_skills", "walk(5.0)", r"forward_speed=5 is outside \[-1, 1\]"),
        ("quadruped_skills", "set_target_joint_angles('left', [0, 0.9, -1.8])", r"left"),
        ("quadruped_skills", "set_target_joint_angles('front_left', [0, 0.9])", r"must be \[abduction, hip, knee\]"),
        ("quadruped_skills", "set_target_joint_angles('front_left', [0, 0.9, 0])", r"knee=0 is outside"),
    ],
)
def test_faults_name_what_is_valid(robot, line, message):
    with pytest.raises(RewardCodeError, match=message):
        said(robot, line)


@pytest.mark.parametrize("kind", [ManipulatorSkills, QuadrupedSkills])
def test_nothing_moves_without_execute_plan(kind):
    skills = kind()
    first = "end_effector_open" if kind is ManipulatorSkills else "walk"
    skills.calls()[first]()
    with pytest.raises(RewardCodeError, match="execute_plan"):
        skills.source()


def test_the_quadruped_faces_and_folds_a_leg():
    task = make_task(TASKS["quadruped_skills"])
    bound = said("quadruped_skills", "head_towards(1.0)", "set_target_joint_angles('back_left', [0, 1.2, -2.4])")
    world, action = world_of(task, 0.2)
    _, terms = bound(world, action)
    off = world.back_left_leg.angles - np.array([0.0, 1.2, -2.4])
    assert np.allclose(terms["back_left_pose"], -np.sum(np.hypot(off, 0.1) - 0.1, axis=-1))
    assert (terms["torso_heading"] < 0).all()
