"""Velocities of the tool through inverse kinematics, gate and the vendor's SDK, on a twin."""

import mujoco
import numpy as np
import pytest
import yaml
from arms import HOME, bench, robot_config, safety_config, ticks
from pads import Pad, Terminal, hand_of

from embodied.core.assets import conf_dir, sim_assets_dir
from embodied.core.build import build
from embodied.core.errors import InputLostError, RobotError, UnknownNameError
from embodied.core.hand import AXES, HandCommand
from embodied.deploy.teleop import drive_tool
from embodied.deploy.tool_motion import ToolMotion

pytest.importorskip("mink")
SPEEDS = {"linear_mps": 0.08, "angular_radps": 0.6, "gripper_radps": 1.0, "ramp_s": 0.15}
CEILING_M = 0.25
ROBOTS = {"so101": "tabletop", "koch": "koch", "ur5e": "ur5e"}


class Arm:
    """A robot's model and its tool's motion, without a robot."""

    def __init__(self, name="so101"):
        robot = yaml.safe_load((conf_dir() / "robot" / f"{name}.yaml").read_text())
        self.envelope = build(yaml.safe_load((conf_dir() / "safety" / f"{ROBOTS[name]}.yaml").read_text()))
        self.model = mujoco.MjModel.from_xml_path(str(sim_assets_dir() / robot["model"]))
        self.home, self.rate_hz, self._tool = robot["home_rad"], robot["rate_hz"], robot["tool"]
        self.ahead = "xyz".index(robot.get("approach", "x"))
        about = {key: robot[key] for key in ("approach", "gripper") if key in robot}
        self.motion = ToolMotion(self.model, self.envelope, robot["tool"], 1.0 / robot["rate_hz"], **SPEEDS, **about)
        self._data = mujoco.MjData(self.model)
        self._q = [self.model.joint(j).qposadr[0] for j in self.envelope.joint_names]

    def tool(self, joints):
        self._data.qpos[self._q] = joints
        mujoco.mj_kinematics(self.model, self._data)
        site = self._data.site(self._tool)
        return site.xpos.copy(), site.xmat.reshape(3, 3).copy()

    def moved(self, axis, share, seconds):
        """Joint targets `(T, J)` of pushing one axis for a time and letting go."""
        q, rows = list(self.home), []
        for i in range(round((seconds + 0.3) * self.rate_hz)):
            velocity = np.zeros(len(AXES))
            velocity[AXES.index(axis)] = share if i < seconds * self.rate_hz else 0.0
            q = self.motion.step(velocity, q)
            rows.append(q)
        return np.array(rows)


def turned(a, b):
    return np.degrees(np.arccos(np.clip((np.trace(a @ b.T) - 1.0) / 2.0, -1.0, 1.0)))


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize(("axis", "share"), [("x", 1.0), ("y", -1.0), ("y", 1.0), ("z", 1.0)])
def test_the_tool_goes_where_it_is_pushed_and_nowhere_else(robot, axis, share):
    arm = Arm(robot)
    begin, _ = arm.tool(arm.home)
    end, _ = arm.tool(arm.moved(axis, share, 0.5)[-1])
    wanted = np.zeros(3)
    wanted["xyz".index(axis)] = share * SPEEDS["linear_mps"] * 0.5
    assert end - begin == pytest.approx(wanted, abs=0.001)


@pytest.mark.parametrize("robot", ROBOTS)
def test_pitch_lifts_the_nose_and_roll_turns_about_it_in_place(robot):
    arm = Arm(robot)
    begin, before = arm.tool(arm.home)
    for axis, share in (("pitch", 1.0), ("roll", 1.0), ("roll", -1.0)):
        place, after = arm.tool(arm.moved(axis, share, 0.5)[-1])
        assert place == pytest.approx(begin, abs=0.001)
        assert turned(after, before) == pytest.approx(np.degrees(0.3), abs=1.0)
        rise = after[2, arm.ahead] - before[2, arm.ahead]
        assert rise > 0.03 if axis == "pitch" else abs(rise) < 0.002


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("share", [-1.0, 1.0])
def test_pushed_for_long_it_stays_within_bounds_and_speeds_and_comes_back_at_once(axis, share):
    arm = Arm()
    rows = arm.moved(axis, share, 6.0)
    assert np.all(rows >= np.array(arm.envelope.low_rad) - 1e-6)
    assert np.all(rows <= np.array(arm.envelope.high_rad) + 1e-6)
    speeds = np.abs(np.diff(rows, axis=0)) * arm.rate_hz
    assert np.all(speeds <= np.array(arm.envelope.of("max_velocity_radps")) + 1e-3)
    assert np.array_equal(rows[-1], rows[-2])
    back, velocity = list(rows[-1]), np.zeros(len(AXES))
    velocity[AXES.index(axis)] = -share
    for _ in range(30):
        back = arm.motion.step(velocity, back)
    if axis in ("x", "y", "z"):
        gone = (arm.tool(back)[0] - arm.tool(rows[-1])[0])["xyz".index(axis)]
        assert -share * gone > 0.005, "nothing has wound up that had to unwind first"


def test_released_it_answers_the_last_command_exactly():
    arm = Arm()
    assert arm.motion.step([0.0] * 6, HOME) == list(HOME)


def test_a_gripper_that_is_none_of_the_joints_is_named():
    arm = Arm()
    with pytest.raises(UnknownNameError, match="claw"):
        ToolMotion(arm.model, arm.envelope, "tool", 0.01, **SPEEDS, gripper="claw")


@pytest.fixture
def standing(tmp_path):
    """`(loop, twin, next_period, motion)` with the twin's arm at home."""
    safety = safety_config()
    safety["workspace"]["high_m"][2] = CEILING_M
    with bench(tmp_path, safety=safety) as (loop, twin, clock):
        loop.arm()
        ticks(loop, twin, clock, 120)
        robot = robot_config()
        model = mujoco.MjModel.from_xml_path(str(sim_assets_dir() / robot["model"]))
        motion = ToolMotion(model, build(safety_config()), "tool", loop.gate.dt_s, **SPEEDS, gripper="gripper")

        def next_period():
            twin.advance(loop.gate.dt_s)
            clock.advance_s(loop.gate.dt_s)

        yield loop, twin, next_period, motion


def stands(loop, twin, next_period):
    """Whether neither commands nor joints move any more."""
    sent = loop.cycle().sent
    for _ in range(50):
        next_period()
        if loop.cycle().sent != sent:
            return False
    return max(map(abs, twin.state()["velocity_radps"])) < 0.05


def driven(standing, hand, person, seconds=1.0):
    """Drives; `person` is told the number of every period before it comes."""
    loop, _, next_period, motion = standing
    number, cycles = iter(range(100_000)), []

    def period():
        next_period()
        person(next(number))

    hand.connect()
    try:
        drive_tool(loop, hand, motion, period, seconds=seconds, on_cycle=cycles.append)
    finally:
        hand.disconnect()
    return cycles


def test_a_held_key_moves_the_twin_and_letting_go_stops_it(standing):
    terminal, twin = Terminal(), standing[1]
    hand, _ = hand_of("keyboard", device=terminal.device)
    begin = twin.state()["tool_m"]
    cycles = driven(standing, hand, lambda i: terminal.type("r" if i < 100 and i % 3 == 0 else ""), 2.0)
    end = twin.state()["tool_m"]
    assert end[2] - begin[2] == pytest.approx(0.08 * (1.0 + 0.15), abs=0.015)
    assert np.abs(np.subtract(end, begin)[:2]).max() < 0.015
    sent = np.array([c.sent for c in cycles])
    assert np.abs(np.diff(sent[140:], axis=0)).max() < 1e-9, "0.15 s after the last key, and the ramp, all stands"
    assert {str(c.verdict) for c in cycles} <= {"passed", "clamped"}
    terminal.hang_up()


def test_q_ends_it(standing):
    terminal = Terminal()
    hand, _ = hand_of("keyboard", device=terminal.device)
    cycles = driven(standing, hand, lambda i: terminal.type("q" if i == 20 else "w"), 5.0)
    assert 20 <= len(cycles) <= 23
    assert stands(standing[0], standing[1], standing[2])
    terminal.hang_up()


def test_a_terminal_that_hangs_up_while_a_key_is_held_stops_the_arm(standing):
    terminal = Terminal()
    hand, _ = hand_of("keyboard", device=terminal.device)
    with pytest.raises(InputLostError):
        driven(standing, hand, lambda i: terminal.type("w") if i < 50 else terminal.hang_up(), 5.0)
    assert stands(standing[0], standing[1], standing[2])
    assert standing[0].gate.faults == ()


def test_a_pad_that_falls_silent_with_the_stick_held_stops_the_arm(standing, tmp_path):
    pad = Pad(tmp_path)
    hand, _ = hand_of("gamepad", device=pad.device)
    pad.button(5)
    pad.stick(0, -1.0)
    twin = standing[1]
    begin = twin.state()["tool_m"]
    cycles = driven(standing, hand, lambda i: None, 3.0)
    moved = twin.state()["tool_m"][1] - begin[1]
    assert moved == pytest.approx(0.08 * 1.0, abs=0.02), "for the second that it is believed"
    sent = np.array([c.sent for c in cycles])
    assert np.abs(np.diff(sent[130:], axis=0)).max() < 1e-9
    pad.unplug()


def test_an_unplugged_pad_stops_the_arm(standing, tmp_path):
    pad = Pad(tmp_path)
    hand, _ = hand_of("gamepad", device=pad.device)
    pad.button(5)
    pad.stick(1, -1.0)
    with pytest.raises(InputLostError, match="gone"):
        driven(standing, hand, lambda i: pad.unplug() if i == 40 else None, 3.0)
    assert stands(standing[0], standing[1], standing[2])


class Pusher:
    """Pushes one way for ever."""

    usage = ""

    def __init__(self, **axes):
        self.velocity = tuple({**dict.fromkeys(AXES, 0.0), **axes}.values())

    def connect(self):
        pass

    def read(self, now_s):
        return HandCommand(self.velocity)

    def disconnect(self):
        pass


def test_the_gate_stops_the_tool_where_the_workspace_ends(standing):
    cycles = driven(standing, Pusher(z=1.0), lambda i: None, 3.0)
    assert CEILING_M - 0.02 < standing[1].state()["tool_m"][2] < CEILING_M + 0.005
    assert any("workspace" in reason for c in cycles for reason in c.reasons)


def test_pressing_on_the_table_is_a_fault_that_ends_it(standing):
    with pytest.raises(RobotError, match="torque of joint"):
        driven(standing, Pusher(z=-1.0), lambda i: None, 6.0)
