"""SO-101: five joints and a gripper of Feetech STS3215 servos on one serial bus.

Mechanical ranges: the manufacturer's URDF. Servo: STS3215 at 12 V, 30 kg cm stall torque, 45 rpm at most (data sheet).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from embodied.core.assets import sim_assets_dir
from embodied.core.clock import Clock
from robots.calibration import (
    COUNTS,
    MotorCalibration,
    load_calibration,
    middle_calibration,
    save_calibration,
    scales,
    uncalibrated,
)
from robots.feetech import FeetechBus
from robots.serial_arm import SerialArm

MECHANICAL_RAD = {
    "shoulder_pan": (-1.91986, 1.91986),
    "shoulder_lift": (-1.74533, 1.74533),
    "elbow_flex": (-1.69, 1.69),
    "wrist_flex": (-1.65806, 1.65806),
    "wrist_roll": (-2.74385, 2.84121),
    "gripper": (-0.17453, 1.74533),
}
IDS = (1, 2, 3, 4, 5, 6)
STS3215 = 777
STALL_TORQUE_NM, MAX_SPEED_RADPS = 2.94, 4.71


def so101(port: str, calibration: str | Path, clock: Clock | None = None) -> SerialArm:
    """The arm on a port.

    Args:
        port: such as `/dev/ttyACM0`, or the path that a twin prints.
        calibration: LeRobot's JSON file of this arm.
        clock: what stamps readings.
    """
    return SerialArm(
        "so101",
        FeetechBus(port),
        mechanical_rad=MECHANICAL_RAD,
        calibration=calibration,
        model_number=STS3215,
        stall_torque_nm=STALL_TORQUE_NM,
        max_speed_radps=MAX_SPEED_RADPS,
        clock=clock,
    )


def so101_twin(
    model: str = "scenes/reach.xml",
    calibration: str | Path | None = None,
    encoder_shift: int | None = None,
    damping_scale: float | Sequence[float] = 1.0,
    friction_scale: float | Sequence[float] = 1.0,
    delay_s: float = 0.0,
):
    """The servos of a twin of the arm.

    Args:
        model: MJCF, relative to `sim_assets/`.
        calibration: what is burnt into its servos; None takes encoders that read 2048 in the middle of every range.
        encoder_shift: an arm that was never calibrated: its encoders read 2048 plus this in the middle of the ranges.
        damping_scale: of the joints' damping, for twins with hidden parameters.
        friction_scale: of the joints' dry friction.
        delay_s: between a goal's arrival and its effect [s].
    """
    from robots.twin.feetech import StsServos
    from robots.twin.physics import ArmPhysics

    burnt = load_calibration(Path(calibration)) if calibration else middle_calibration(MECHANICAL_RAD, IDS)
    built = scales(burnt, MECHANICAL_RAD)
    if encoder_shift is not None:
        burnt, built = uncalibrated(burnt, built, encoder_shift % COUNTS)
    physics = ArmPhysics(
        sim_assets_dir() / model,
        tuple(MECHANICAL_RAD),
        max_speed_radps=MAX_SPEED_RADPS,
        damping_scale=damping_scale,
        friction_scale=friction_scale,
        delay_s=delay_s,
    )
    return StsServos(physics, burnt, built, model_number=STS3215, stall_torque_nm=STALL_TORQUE_NM)


def so101_calibrating(port: str):
    """What `embodied robot calibrate` needs of the arm on a port."""
    from robots.calibrating import Calibratable

    return Calibratable(
        bus=FeetechBus(port),
        ids=dict(zip(MECHANICAL_RAD, IDS, strict=True)),
        make=lambda motor, offset, low, high: MotorCalibration(motor, 0, offset, low, high),
        check=lambda calibration: scales(calibration, MECHANICAL_RAD),
        save=save_calibration,
    )
