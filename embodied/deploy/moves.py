"""Moves without a policy, at the control rate: to a pose, and to the parking pose with the torque off after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from embodied.core.clock import Clock
from embodied.core.errors import RobotError
from embodied.core.robot import RobotState
from embodied.deploy.chunks import make_chunk
from embodied.deploy.identify import Recording, excitation
from embodied.deploy.loop import ControlLoop
from embodied.deploy.pacer import Pacer
from embodied.safety.faults import Mode

MOST_MOVE_S, MOST_PARK_S = 20.0, 30.0


def go_and_hold(loop: ControlLoop, pose_rad: Sequence[float], clock: Clock) -> bool:
    """Goes to a pose `(J,)` [rad] and stays there with the torque on; whether it came there."""
    loop.go_to(pose_rad)
    pacer, until_s = Pacer(1.0 / loop.gate.dt_s, clock), clock.now_s() + MOST_MOVE_S
    while not loop.at_pose and clock.now_s() < until_s:
        if loop.cycle().mode is not Mode.RUNNING:
            return False
        pacer.wait()
    return loop.at_pose


def swing(loop: ControlLoop, center_rad: Sequence[float], seconds: float, next_period: Callable[[], None]) -> Recording:
    """Plays `excitation` about a pose, from that pose, and records it.

    Args:
        loop: standing at the pose.
        center_rad: the pose `(J,)` [rad].
        seconds: how long.
        next_period: waits for (or makes) the next control period.

    Raises:
        RobotError: a fault ended it.
    """
    dt_s, envelope, cycles = loop.gate.dt_s, loop.gate.envelope, []
    loop.follow(True)
    try:
        for i in range(round(seconds / dt_s)):
            goal = excitation(center_rad, envelope.low_rad, envelope.high_rad, (i + 1) * dt_s)

            def offer(state: RobotState, now_s: float, i: int = i, goal: list[float] = goal) -> None:
                last = loop.gate.last_command or state.position_rad
                loop.stream.offer(make_chunk(i, now_s, dt_s, [goal], last), now_s, last)

            cycle = loop.cycle(offer)
            cycles.append(cycle)
            if cycle.mode is not Mode.RUNNING:
                raise RobotError(f"the motion was ended by a fault: {'; '.join(cycle.reasons)}")
            next_period()
    finally:
        loop.follow(False)
    if any(c.state.torque_nm is None for c in cycles):
        raise RobotError(f"{loop.robot.name} does not tell its torques: friction cannot be identified")
    return Recording(
        dt_s,
        np.array([c.sent for c in cycles]),
        np.array([c.state.position_rad for c in cycles]),
        np.array([c.state.torque_nm for c in cycles]),
    )


def park_and_release(loop: ControlLoop, clock: Clock) -> bool:
    """Parks, then takes the torque off; whether it could. A robot that cannot park keeps holding."""
    loop.machine.park(clock.now_s())
    pacer, until_s = Pacer(1.0 / loop.gate.dt_s, clock), clock.now_s() + MOST_PARK_S
    while clock.now_s() < until_s:
        if loop.cycle().mode is Mode.PARKED:
            loop.machine.release(clock.now_s())
            loop.robot.release()
            return True
        pacer.wait()
    return False
