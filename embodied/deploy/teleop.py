"""A person moves the arm: by another arm that it follows, or by a hand (keyboard, gamepad) that moves its tool."""

from __future__ import annotations

from collections.abc import Callable

from embodied.core.errors import ConfigError, InputLostError, RobotError
from embodied.core.hand import Hand, HandCommand
from embodied.core.robot import Robot, RobotState
from embodied.deploy.chunks import make_chunk
from embodied.deploy.loop import ControlLoop, Cycle
from embodied.deploy.tool_motion import ToolMotion
from embodied.safety.faults import Mode

FAR_RAD = 0.15  # from the leader's pose: the follower goes there slowly before it follows


def follow_leader(
    loop: ControlLoop,
    leader: Robot,
    next_period: Callable[[], None],
    *,
    seconds: float,
    on_cycle: Callable[[Cycle], None] | None = None,
) -> int:
    """The follower does what the leader does, joint by joint, for some time.

    Args:
        loop: of the follower, armed.
        leader: connected, its torque off; joints of the same names in the same order.
        next_period: waits for (or makes) the next control period.
        seconds: how long.
        on_cycle: told every control period.

    Returns:
        How many of the leader's readings failed; while they do the follower brakes and stands.

    Raises:
        ConfigError: the arms have different joints.
        RobotError: a fault of the follower ended it.
    """
    if tuple(leader.joints) != tuple(loop.robot.joints):
        raise ConfigError(
            f"the leader has {', '.join(leader.joints)}; the follower {', '.join(loop.robot.joints)}, in that order"
        )
    dt_s, failed = loop.gate.dt_s, 0
    here, there = loop.gate.last_command or (), leader.observe().position_rad
    if max(abs(a - b) for a, b in zip(here, there, strict=True)) > FAR_RAD:
        loop.go_to([min(max(x, lo), hi) for x, lo, hi in zip(there, *_bounds(loop), strict=True)])
        while not loop.at_pose:
            _checked(loop.cycle())
            next_period()
    loop.follow(True)
    try:
        for number in range(round(seconds / dt_s)):

            def lead(state: RobotState, now_s: float, number: int = number) -> None:
                nonlocal failed
                last = loop.gate.last_command or state.position_rad
                try:
                    wanted = leader.observe().position_rad
                except RobotError:
                    failed += 1
                    return
                loop.stream.offer(make_chunk(number, now_s, dt_s, [wanted], last), now_s, last)

            cycle = loop.cycle(lead)
            _checked(cycle)
            if on_cycle is not None:
                on_cycle(cycle)
            next_period()
    finally:
        loop.follow(False)
    return failed


def drive_tool(
    loop: ControlLoop,
    hand: Hand,
    motion: ToolMotion,
    next_period: Callable[[], None],
    *,
    seconds: float,
    on_cycle: Callable[[Cycle], None] | None = None,
) -> None:
    """The tool moves as a person's hand asks, until the person ends it or the time is over; then it stands.

    Args:
        loop: of the robot, armed and standing.
        hand: connected.
        motion: of this robot's tool.
        next_period: waits for (or makes) the next control period.
        seconds: how long at most.
        on_cycle: told every control period.

    Raises:
        InputLostError: the device is gone; the robot stands.
        RobotError: a fault of the robot ended it.
    """
    dt_s, number, asked = loop.gate.dt_s, -1, HandCommand()
    lost: list[InputLostError] = []
    motion.still()
    loop.follow(True)

    def lead(state: RobotState, now_s: float) -> None:
        nonlocal asked, number
        number += 1
        try:
            asked = hand.read(now_s)
        except InputLostError as error:
            lost.append(error)
            asked = HandCommand(ended=True)
        last = loop.gate.last_command or state.position_rad
        if not asked.ended:
            wanted = motion.step(asked.velocity, last)
            loop.stream.offer(make_chunk(number, now_s, dt_s, [wanted], last), now_s, last)

    try:
        for _ in range(round(seconds / dt_s)):
            cycle = loop.cycle(lead)
            _checked(cycle)
            if on_cycle is not None:
                on_cycle(cycle)
            next_period()
            if asked.ended:
                break
    finally:
        loop.follow(False)
    _brake(loop, next_period)
    if lost:
        raise lost[0]


def _bounds(loop: ControlLoop) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return loop.gate.envelope.low_rad, loop.gate.envelope.high_rad


def _brake(loop: ControlLoop, next_period: Callable[[], None]) -> None:
    """Until the same is commanded twice: standstill within the gate's limits."""
    before = None
    while before != loop.gate.last_command:
        before = loop.gate.last_command
        _checked(loop.cycle())
        next_period()


def _checked(cycle: Cycle) -> None:
    if cycle.mode is not Mode.RUNNING:
        raise RobotError(f"the robot stopped: {'; '.join(cycle.reasons)}")
