"""`embodied robot`: look at, calibrate, home or park one robot, without a policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embodied.commands import camera

HELP = """embodied robot <action> <robot> port=<device> calibration=<file> [key=value ...]
       embodied robot <action> ur5e host=<address> serial_number=<number> [key=value ...]
       embodied robot <action> fr3 host=<address> [key=value ...]

check      connects, compares the calibration, prints the joints; moves nothing and leaves the torque as it is
calibrate  torque off; a person moves every joint to both ends; writes LeRobot's file and the servos' memory
home       slowly to home_rad, holding there; needs an envelope and a confirmation
park       slowly to the parking pose, then torque off
teleop     a person moves the arm: with=leader (a second arm by hand), keyboard or gamepad (the tool, from home_rad);
           writes the motion; parks at the end
board      writes a marker board to print: to=board.png board={columns: 7, rows: 5, square_m: 0.03, marker_m: 0.022}
calibrate-camera   tilts the arm about pose_rad, the board on its tool (mount=room) or the camera (mount=tool), and
           finds where the camera is; writes a yaml; parks at the end
identify   swings every joint about home_rad and fits friction, damping and delay of the model to it; writes a yaml

  transport=twin         a digital twin, started for the purpose, instead of what port= and the like lead to
  safety=tabletop        the envelope (home, park)
  leader_port=<device> leader_calibration=<file>   the arm that leads (teleop); so for what else a robot needs
  device=<path>          of the gamepad (/dev/input/js0), or of a terminal other than this one (teleop)
  seconds=8  to=<file>   how long to swing, and where the result goes (teleop, identify)
  dataset=<folder> instruction="..."   the motion becomes an episode of a dataset (teleop)
  cameras={front: /dev/video0}   devices or addresses (check, calibrate-camera, teleop); of a twin cameras=[front]
  fps=25  height=240  width=320   of an episode with pictures (teleop)
  camera=front  pose_rad=[...]  views=15  intrinsics=<yaml of an earlier one>   (calibrate-camera)
  confirmed_by=<name>    who stands beside the robot; asked for at the keyboard otherwise

examples:
  embodied robot check so101 port=/dev/ttyACM0 calibration=my_arm.json
  embodied robot calibrate so101 port=/dev/ttyACM0 calibration=my_arm.json
  embodied robot park so101 port=/dev/ttyACM0 calibration=my_arm.json
  embodied robot teleop so101 with=keyboard transport=twin seconds=120
  embodied robot home ur5e host=192.168.1.10 serial_number=20235500001 safety=ur5e
"""
DEFAULTS: dict[str, Any] = {"safety": "tabletop", "confirmed_by": None, "seconds": 8.0, "to": None}
DEFAULTS |= {"dataset": None, "instruction": None, "with": "leader", "device": None, "transport": "real"}
DEFAULTS |= camera.DEFAULTS
TWIN_PRIORITY = 45  # where permitted: a robot answers in time, however busy this computer is
ACTIONS = ("check", "calibrate", "home", "park", "teleop", "identify", "board", "calibrate-camera")


def run(arguments: list[str]) -> int:
    """Runs the command."""
    from embodied.core.errors import ConfigError, UnknownNameError
    from embodied.deploy.opening import connection_names

    words = [argument for argument in arguments if "=" not in argument]
    if len(words) != 2:
        raise ConfigError(
            f"what, and which robot? embodied robot {'|'.join(ACTIONS)} <robot> port=... "
        )
    action, name = words
    if action not in ACTIONS:
        raise UnknownNameError("action", action, ACTIONS)
    robot = load_robot(name)
    told = connection_names(robot["driver"])
    _, values = words_and_values(
        arguments, {**DEFAULTS, **dict.fromkeys(told), **{f"leader_{one}": None for one in told}}, "robot"
    )
    if action == "board":
        return camera.print_board(values)
    with _reached(robot, values, told) as (values["connection"], twin):
        if action == "calibrate":
            return _calibrate(robot, values)
        if action == "check":
            return _check(robot, values)
        with camera.beside(robot, values, twin, board=action == "calibrate-camera") as seeing:
            return _move(robot, seeing, action)


@contextmanager
def _reached(
    robot: Mapping[str, Any], values: Mapping[str, Any], told: Sequence[str]
) -> Iterator[tuple[dict[str, str], Any]]:
    """What the driver must be told: as given (and None), or of a twin that ends with the command (and the twin)."""
    import tempfile

    from embodied.core.errors import UnknownNameError
    from embodied.deploy.opening import start_twin

    if values["transport"] not in ("real", "twin"):
        raise UnknownNameError("transport", str(values["transport"]), ("real", "twin"))
    if values["transport"] == "real":
        yield given_connection(values, told, ""), None
        return
    with tempfile.TemporaryDirectory() as folder:
        connection, twin = start_twin(robot, Path(folder), manual=False, priority=TWIN_PRIORITY)
        with twin:
            yield connection, twin


def load_robot(name: str) -> dict[str, Any]:
    """The part of `conf/robot/<name>.yaml` that is about the metal.

    Raises:
        ConfigError: the robot is simulated only.
    """
    from embodied.commands.compose import compose_config

    robot = compose_config("deploy", [f"robot={name}", "policy=none"]).config["robot"]
    if "driver" not in robot:
        from embodied.core.errors import ConfigError

        raise ConfigError(f"robot '{name}' is simulated only: it has no driver")
    return robot


def words_and_values(
    arguments: Sequence[str], defaults: Mapping[str, Any], command: str
) -> tuple[list[str], dict[str, Any]]:
    """Words, and `key=value` pairs over their defaults."""
    import yaml

    from embodied.core.errors import ConfigError, UnknownNameError

    words, values = [], dict(defaults)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            words.append(argument)
        elif key not in values:
            raise UnknownNameError("key", key, values, f"embodied {command}")
        else:
            try:
                values[key] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise ConfigError(f"{argument}: not a value: {error}") from None
    return words, values


def given_connection(values: Mapping[str, Any], names: Sequence[str], of: str) -> dict[str, str]:
    """What was given of a driver's connection, `of` being what the keys begin with."""
    from embodied.core.errors import ConfigError
    from embodied.deploy.opening import told_how

    if not all(values[of + name] for name in names):
        raise ConfigError(f"give {told_how([of + name for name in names])}; embodied twin <robot> prints a twin's")
    return {name: str(values[of + name]) for name in names}


def _check(robot: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    from embodied.core.build import build

    arm = build(robot["driver"], **values["connection"])
    arm.connect()
    try:
        state = arm.observe()
    finally:
        arm.disconnect()
    print(f"{arm.name} with {', '.join(values['connection'].values())}: {len(arm.joints)} joints answer, it is the one")
    for i, joint in enumerate(arm.joints):
        told = f"{state.position_rad[i]:+7.3f} rad {state.velocity_radps[i]:+7.3f} rad/s"
        if state.torque_nm is not None:
            told += f" {state.torque_nm[i]:+6.2f} Nm"
        if state.temperature_c is not None:
            told += f" {state.temperature_c[i]:5.1f} C"
        print(f"  {joint:<14} {told}")
    camera.show(robot, values)
    return 0


def _calibrate(robot: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    from embodied.core.build import resolve
    from embodied.core.errors import ConfigError
    from robots.calibrating import calibrate

    if "calibrating" not in robot:
        raise ConfigError("this robot's controller holds its calibration: there is nothing to calibrate here")
    parts = resolve(robot["calibrating"])(port=values["connection"]["port"])
    path = calibrate(parts, Path(values["connection"]["calibration"]), input, print)
    print(f"calibration: {path} (LeRobot reads it too)")
    return 0


def _move(robot: Mapping[str, Any], values: Mapping[str, Any], action: str) -> int:
    import sys

    from embodied.commands.compose import compose_config
    from embodied.commands.teleop import check, teleop
    from embodied.core.build import build
    from embodied.core.clock import MonotonicClock
    from embodied.core.errors import ConfigError
    from embodied.deploy.daemon import make_loop
    from embodied.deploy.moves import go_and_hold, park_and_release
    from embodied.deploy.opening import summary

    if action == "teleop":
        check(values)
    config = compose_config("deploy", [f"safety={values['safety']}", "policy=none"]).config
    connection = values["connection"]
    print(summary(build(config["safety"]), str(robot["driver"]["_target_"]), connection), flush=True)
    if not values["confirmed_by"] and values["transport"] == "real":
        if not sys.stdin.isatty():
            raise ConfigError("a robot that moves needs a person: run it in a terminal, or give confirmed_by=<name>")
        if input("The robot will move. Type 'move' to go on: ").strip() != "move":
            raise ConfigError("not confirmed: nothing has moved")
    clock = MonotonicClock()
    arm = build(robot["driver"], **connection)
    arm.connect()
    try:
        loop = make_loop({**robot, "safety": config["safety"], "blend_s": 0.0}, arm, clock)
        loop.arm()
        if action == "home":
            done = go_and_hold(loop, robot["home_rad"], clock)
            print("at home, holding: the torque is on" if done else f"not at home: {loop.machine.reasons}")
        elif action == "teleop":
            done = teleop(robot, values, loop, clock)
        elif action == "calibrate-camera":
            done = go_and_hold(loop, robot["home_rad"], clock) and camera.calibrate(robot, values, loop, clock)
        elif action == "identify":
            done = go_and_hold(loop, robot["home_rad"], clock) and _identify(robot, values, loop, clock)
        else:
            done = park_and_release(loop, clock)
            print("parked; torque off" if done else f"not parked, holding: {loop.machine.reasons}")
    finally:
        arm.disconnect()
    return 0 if done else 1


def _identify(robot: Mapping[str, Any], values: Mapping[str, Any], loop: Any, clock: Any) -> bool:
    from dataclasses import asdict

    import mujoco
    import yaml

    from embodied.core.assets import sim_assets_dir
    from embodied.core.files import write_text
    from embodied.deploy.identify import identify
    from embodied.deploy.moves import go_and_hold, park_and_release, swing
    from embodied.deploy.pacer import Pacer

    recording = swing(loop, robot["home_rad"], float(values["seconds"]), Pacer(1.0 / loop.gate.dt_s, clock).wait)
    done = go_and_hold(loop, robot["home_rad"], clock) and park_and_release(loop, clock)
    print("parked; torque off" if done else f"not parked, holding: {loop.machine.reasons}")
    model = mujoco.MjModel.from_xml_path(str(sim_assets_dir() / robot["model"]))
    found = identify(model, loop.robot.joints, recording)
    path = Path(str(values["to"] or "identified.yaml"))
    write_text(path, yaml.safe_dump(asdict(found), sort_keys=False))
    for joint in loop.robot.joints:
        print(f"  {joint:<14} friction {found.friction_nm[joint]:.3f} Nm, damping {found.damping[joint]:.3f} Nm s/rad")
    print(f"  delay {1e3 * found.delay_s:.0f} ms; error {1e3 * found.error_before_rad:.1f} -> ", end="")
    print(f"{1e3 * found.error_after_rad:.1f} mrad. Written to {path}")
    return done
