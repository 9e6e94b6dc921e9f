"""A twin of the SO-101 on a clock that is moved by hand, behind the vendor's SDK and the control loop."""

import contextlib

import yaml

from embodied.core.assets import conf_dir
from embodied.core.clock import VirtualClock
from embodied.deploy.daemon import make_loop
from robots.calibration import save_calibration
from robots.so101 import so101
from robots.twin.process import TwinProcess

HOME = (0.0, -0.68, 0.48, 1.42, 0.0487, 0.6)


def robot_config():
    return yaml.safe_load((conf_dir() / "robot" / "so101.yaml").read_text())


def safety_config():
    return yaml.safe_load((conf_dir() / "safety" / "tabletop.yaml").read_text())


@contextlib.contextmanager
def bench(folder, *, safety=None, blend_s=0.0, manual=True, **changes):
    """`(loop, twin, clock)` with the arm connected, not armed; `clock` is virtual and `twin.advance` moves physics."""
    robot = robot_config() | changes
    with TwinProcess(robot["twin"], log=folder / "wire.jsonl", manual=manual) as twin:
        save_calibration(folder / "arm.json", twin.calibration)
        clock = VirtualClock()
        arm = so101(twin.port, folder / "arm.json", clock)
        arm.connect()
        try:
            yield make_loop({**robot, "safety": safety or safety_config(), "blend_s": blend_s}, arm, clock), twin, clock
        finally:
            arm.disconnect()


def ticks(loop, twin, clock, n):
    """n control periods."""
    cycles = []
    for _ in range(n):
        cycles.append(loop.cycle())
        twin.advance(loop.gate.dt_s)
        clock.advance_s(loop.gate.dt_s)
    return cycles
