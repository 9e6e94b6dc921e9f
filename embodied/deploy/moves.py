"""Moves without a policy, at the control rate: to a pose, and to the parking pose with the torque off after it."""

from __future__ import annotations

from collections.abc import Sequence

from embodied.core.clock import Clock
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
