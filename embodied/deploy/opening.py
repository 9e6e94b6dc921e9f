"""From a configuration to what a deployment needs: everything is checked before anything is powered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from embodied.core.build import build, resolve
from embodied.core.errors import ConfigError, UnknownNameError
from embodied.deploy.acting import is_address, load_policy, make_bridge, pictures_of
from embodied.deploy.translate import TaskBridge
from embodied.rl.writing import make_task, task_configuration
from embodied.safety.envelope import Envelope

NEEDED = ("driver", "model", "tool", "rate_hz", "motion", "fault")
MEANT = {
    "port": "device",
    "calibration": "LeRobot's file of this arm",
    "host": "network address of its controller",
    "serial_number": "the one on its label",
}


@dataclass(frozen=True)
class Prepared:
    """A deployment that could begin.

    Attributes:
        config: of daemon and policy process; `connection` is still empty.
        bridge: of the policy's task, for its start poses.
        policy: what acts.
        envelope: what bounds it.
    """

    config: dict[str, Any]
    bridge: TaskBridge
    policy: Any
    envelope: Envelope


def prepare(
    config: Mapping[str, Any], task_config: Mapping[str, Any] | str, trusted_packages: Sequence[str] = ()
) -> Prepared:
    """Checks policy, task, robot and envelope against each other.

    Args:
        config: of `conf/deploy.yaml`.
        task_config: what the policy does: a task's configuration, or its name.
        trusted_packages: whose code `_target_` may name.

    Raises:
        ConfigError: they do not fit; says what does not.
    """
    robot = config["robot"]
    missing = [key for key in NEEDED if key not in robot]
    if missing:
        raise ConfigError(f"this robot has no {', '.join(missing)}: it is simulated only and cannot be deployed to")
    if not config["safety"]:
        raise ConfigError("no motion without an envelope: safety=<name>, see conf/safety/")
    envelope = build(config["safety"])
    task = make_task(task_config, tuple(trusted_packages))
    place = str(config["policy"])
    place = place if is_address(place) else str(Path(place) / "policy")
    policy = load_policy(place, trusted_packages, token_env=config["token_env"])
    cameras = None if config["headless"] else cameras_of(config, pictures_of(policy))
    bridge = make_bridge(task, envelope.joint_names, policy, cameras)
    ratio = task.control_dt_s * float(robot["rate_hz"])
    if abs(ratio - round(ratio)) > 1e-6 or ratio < 1.0:
        raise ConfigError(f"rate_hz={robot['rate_hz']} must be a multiple of the policy's {1 / task.control_dt_s:g} Hz")
    ready = {
        **{key: robot[key] for key in NEEDED},
        "safety": config["safety"],
        "task": task_configuration(task_config),
        "policy": place,
        "token_env": config["token_env"],
        "joints": list(envelope.joint_names),
        "policy_step_s": task.control_dt_s,
        "episode_steps": task.episode_steps,
        "blend_s": config["blend_s"],
        "continue_chunks": config["continue_chunks"],
        "priority": config["priority"],
        "trusted_packages": list(trusted_packages),
        "connection": {},
        "cameras": cameras,
    }
    return Prepared(ready, bridge, policy, envelope)


def cameras_of(config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> dict[str, dict[str, Any]]:
    """Configurations of the cameras that a policy sees through: of the metal as given, a twin's without an address yet.

    Args:
        config: of `conf/deploy.yaml`; `cameras` tells device or address by name.
        shapes: of the pictures that the policy takes, by camera.

    Raises:
        ConfigError: this robot's configuration says of no camera driver.
    """
    if not shapes:
        return {}
    if "camera" not in config["robot"]:
        raise ConfigError(f"the policy sees through {', '.join(shapes)}; this robot has no camera driver (`camera:`)")
    driver, given = config["robot"]["camera"], dict(config["cameras"] or {})
    if config["transport"] == "twin":
        return {n: {**driver, "source": "", "height": int(s[0]), "width": int(s[1])} for n, s in shapes.items()}
    return {name: {**driver, "source": source} for name, source in given.items()}


def connection(config: Mapping[str, Any], folder: Path) -> tuple[dict[str, str], Any]:
    """Where the driver connects to, and the twin that was started for it (None on the metal).

    Args:
        config: of `conf/deploy.yaml`.
        folder: where a twin's byte log and what its driver needs go.
    """
    if config["transport"] == "real":
        names = connection_names(config["robot"]["driver"])
        if not all(config.get(name) for name in names):
            raise ConfigError(f"transport=real needs {told_how(names)}")
        return {name: str(config[name]) for name in names}, None
    if config["transport"] != "twin":
        raise UnknownNameError("transport", str(config["transport"]), ("twin", "real"))
    if not config["robot"].get("twin"):
        raise ConfigError("this robot has no twin: transport=real")
    return start_twin(config["robot"], folder, manual=bool(config["headless"]), priority=int(config["priority"]))


def start_twin(
    robot: Mapping[str, Any], folder: Path, *, manual: bool, priority: int = 0
) -> tuple[dict[str, str], Any]:
    """A twin, its byte log and what its driver needs in `folder`; gives the driver's connection and the process."""
    from robots.twin.process import TwinProcess

    folder.mkdir(parents=True, exist_ok=True)
    twin = TwinProcess(robot["twin"], log=folder / "wire.jsonl", manual=manual, priority=max(priority - 5, 0))
    return twin.connection(folder), twin


def connection_names(driver: Mapping[str, Any]) -> tuple[str, ...]:
    """What a driver must be told to connect: the arguments that it has no value for, such as `port`, `calibration`."""
    parameters = signature(resolve(driver["_target_"])).parameters.values()
    return tuple(p.name for p in parameters if p.default is p.empty and p.name not in driver)


def told_how(names: Sequence[str]) -> str:
    """Those, as a person has to give them: `port=<device, such as /dev/ttyACM0> ...`."""
    return " ".join(f"{name}=<{MEANT.get(name, name)}>" for name in names)


def summary(envelope: Envelope, robot: str, connection: Mapping[str, str]) -> str:
    """What a person must have read before a real robot moves."""
    lines = [
        f"{robot} with {', '.join(f'{name} {value}' for name, value in connection.items())}",
        "joint             from      to   speed  accel.   jump  torque   temp.",
        "                 [rad]   [rad] [rad/s] [rad/s2]  [rad]   [Nm] [deg C]",
    ]
    for name, b in envelope.joints.items():
        lines.append(
            f"{name:<14} {b.low_rad:7.2f} {b.high_rad:7.2f} {b.max_velocity_radps:7.2f}"
            f" {b.max_acceleration_radps2:8.1f} {b.max_jump_rad:6.2f} {b.max_torque_nm:6.2f} {b.max_temperature_c:7.1f}"
        )
    box = envelope.workspace
    lines.append(f"workspace of the tool {box.low_m} to {box.high_m} m; {len(envelope.keep_outs)} places kept out")
    lines.append("Not a safety function in the sense of ISO 10218: stay out of reach, and a hand on the power switch.")
    return "\n".join(lines)
