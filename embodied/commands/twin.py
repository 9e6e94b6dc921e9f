"""`embodied twin`: a digital twin of a robot, for any driver that speaks its protocol."""

from __future__ import annotations

from pathlib import Path

HELP = """embodied twin <robot> [folder=<path>] [key=value ...]

Starts a twin (the robot's own protocol, MuJoCo physics behind it) and prints what a driver must be told: the device to
connect to and the calibration file that belongs to it, in LeRobot's format, or a network address and a serial number.
The bytes are logged. Ends with Ctrl-C.

  folder=twin            where calibration and byte log go
  faults={corrupt: 0.01, drop: 0.0, late: 0.0}   shares of packets that something happens to
  seconds=null           ends by itself after so long

examples:
  embodied twin so101
  embodied twin ur5e
  embodied twin fr3
  embodied twin so101 'faults={drop: 0.01}' seconds=60
"""
TOLD = 15
DEFAULTS = {"folder": "twin", "faults": {}, "seconds": None}


def run(arguments: list[str]) -> int:
    """Runs the command."""
    import time

    from embodied.commands.robot import load_robot, words_and_values
    from embodied.core.errors import ConfigError
    from embodied.deploy.opening import start_twin

    words, values = words_and_values(arguments, DEFAULTS, "twin")
    if len(words) != 1:
        raise ConfigError("which twin? embodied twin <robot>, such as embodied twin so101")
    robot = load_robot(words[0])
    if not robot.get("twin"):
        raise ConfigError(f"robot '{words[0]}' has no twin")
    connection, twin = start_twin(robot, Path(values["folder"]), manual=False, priority=0)
    with twin:
        twin.tell(set=values["faults"])
        for name, value in (*connection.items(), ("bytes", Path(values["folder"]) / "wire.jsonl")):
            print(f"{name + ':':<{TOLD}}{value}", flush=True)
        try:
            time.sleep(float(values["seconds"]) if values["seconds"] is not None else 1e9)
        except KeyboardInterrupt:
            print("twin ended")
    return 0
