"""`embodied robot teleop`: a person moves the arm by a leader arm, a keyboard or a gamepad, and it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def ways() -> list[str]:
    """How a person can move an arm: `leader`, and what `conf/teleop/` has."""
    from embodied.core.assets import conf_dir

    return ["leader", *sorted(path.stem for path in (conf_dir() / "teleop").glob("*.yaml"))]


def check(values: Mapping[str, Any]) -> None:
    """Everything that can be wrong before anything is powered.

    Raises:
        ConfigError: an unknown way, a leader that was not given, no such device, a dataset without an instruction.
    """
    from embodied.commands.robot import given_connection
    from embodied.core.errors import ConfigError, UnknownNameError
    from embodied.deploy.tool_motion import load_mink

    if values["with"] not in ways():
        raise UnknownNameError("way to teleoperate", str(values["with"]), ways(), "with=")
    if values["dataset"] and not values["instruction"]:
        raise ConfigError('dataset= needs instruction="...": what is shown, as a person would say it')
    if values["with"] == "leader":
        given_connection(values, list(values["connection"]), "leader_")
        return
    load_mink()
    hand, _ = _hand(values)
    hand.connect()
    hand.disconnect()


def teleop(robot: Mapping[str, Any], values: Mapping[str, Any], loop: Any, clock: Any) -> bool:
    """Moves, writes what was moved, parks; whether it could park."""
    from embodied.commands.camera import filming
    from embodied.core.errors import RobotError
    from embodied.deploy.moves import park_and_release
    from embodied.deploy.pacer import Pacer

    cycles: list[Any] = []
    with filming(robot, values, 1.0 / loop.gate.dt_s) as film, _mover(robot, values, loop, clock) as move:

        def note(cycle: Any) -> None:
            if film is not None:
                film.note()
            cycles.append(cycle)

        try:
            pacer = Pacer(1.0 / loop.gate.dt_s, clock)
            move(pacer.wait, seconds=float(values["seconds"]), on_cycle=note)
            print(f"followed for {len(cycles) * loop.gate.dt_s:.1f} s, {pacer.missed} periods missed")
        except RobotError as error:
            print(f"ended: {error}")
    path = _written(values, loop, cycles, film)
    done = park_and_release(loop, clock)
    print(f"motion: {path}; " + ("parked; torque off" if done else f"not parked, holding: {loop.machine.reasons}"))
    return done


@contextmanager
def _mover(robot: Mapping[str, Any], values: Mapping[str, Any], loop: Any, clock: Any):
    """What moves the arm, open: a function of `next_period`, `seconds` and `on_cycle`."""
    from functools import partial

    from embodied.commands.robot import given_connection
    from embodied.core.build import build
    from embodied.core.errors import RobotError
    from embodied.deploy.moves import go_and_hold
    from embodied.deploy.teleop import drive_tool, follow_leader

    if values["with"] == "leader":
        leader = build(robot["driver"], **given_connection(values, list(values["connection"]), "leader_"))
        leader.connect()
        try:
            yield lambda next_period, **how: follow_leader(loop, leader, next_period, **how)
        finally:
            leader.disconnect()
        return
    hand, speeds = _hand(values)
    motion = _motion(robot, loop, speeds)
    if not go_and_hold(loop, robot["home_rad"], clock):
        raise RobotError(f"not at home: {'; '.join(loop.machine.reasons)}")
    hand.connect()
    print(hand.usage, flush=True)
    try:
        yield partial(drive_tool, loop, hand, motion)
    finally:
        hand.disconnect()


def _hand(values: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The device of `conf/teleop/<name>.yaml`, not connected, and the speeds that it asks for."""
    import yaml

    from embodied.core.assets import conf_dir
    from embodied.core.build import build

    config = yaml.safe_load((conf_dir() / "teleop" / f"{values['with']}.yaml").read_text(encoding="utf-8"))
    device = {"device": str(values["device"])} if values["device"] else {}
    return build(config.pop("hand"), **device), config


def _motion(robot: Mapping[str, Any], loop: Any, speeds: Mapping[str, float]) -> Any:
    """What makes joint targets of a tool's velocities."""
    import mujoco

    from embodied.core.assets import sim_assets_dir
    from embodied.deploy.tool_motion import ToolMotion

    model = mujoco.MjModel.from_xml_path(str(sim_assets_dir() / robot["model"]))
    about = {key: robot[key] for key in ("approach", "gripper") if key in robot}
    return ToolMotion(model, loop.gate.envelope, robot["tool"], loop.gate.dt_s, **speeds, **about)


def _written(values: Mapping[str, Any], loop: Any, cycles: list[Any], film: Any) -> Path:
    """The motion as a file, and as an episode where a dataset was given."""
    import numpy as np

    if values["dataset"] and cycles:
        from embodied.deploy.recording import record_cycles

        settings = {"rate_hz": 1.0 / loop.gate.dt_s, "instruction": str(values["instruction"])}
        index = record_cycles(
            Path(str(values["dataset"])), cycles, loop.robot.joints, **settings, robot_type=loop.robot.name, film=film
        )
        print(f"episode {index} of dataset {values['dataset']}")
    path = Path(str(values["to"] or "teleop.npz"))
    np.savez_compressed(
        path,
        t_s=np.array([c.now_s for c in cycles]),
        sent_rad=np.array([c.sent for c in cycles]),
        measured_rad=np.array([c.state.position_rad for c in cycles]),
        joints=np.array(loop.robot.joints),
    )
    return path
