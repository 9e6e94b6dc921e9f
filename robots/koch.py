"""Koch v1.1: five joints and a gripper of Dynamixel XL430 and XL330 servos on one serial bus.

Joint names and ids are LeRobot's. Servos: XL430-W250 at 12 V (1.5 Nm stall, 61 rpm), XL330-M288 at 5 V (0.52 Nm,
103 rpm), from their data sheets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from embodied.core.assets import sim_assets_dir
from embodied.core.clock import Clock
from robots.calibration import MotorCalibration, load_calibration, middle_calibration, save_calibration, scales
from robots.dynamixel import DynamixelBus
from robots.serial_arm import SerialArm

MECHANICAL_RAD = {
    "shoulder_pan": (-2.2, 2.2),
    "shoulder_lift": (-0.6, 1.57),
    "elbow_flex": (-1.45, 1.57),
    "wrist_flex": (-2.0, 2.0),
    "wrist_roll": (-2.9, 2.9),
    "gripper": (-0.03, 1.6),
}
IDS = (1, 2, 3, 4, 5, 6)
XL430_W250, XL330_M288 = 1060, 1200
MODELS = {joint: XL430_W250 if joint.startswith("shoulder") else XL330_M288 for joint in MECHANICAL_RAD}
STALL_TORQUE_NM = {joint: 1.5 if model == XL430_W250 else 0.52 for joint, model in MODELS.items()}
MAX_SPEED_RADPS = 10.7


def koch(port: str, calibration: str | Path, clock: Clock | None = None) -> SerialArm:
    """The arm on a port.

    Args:
        port: such as `/dev/ttyACM0`, or the path that a twin prints.
        calibration: LeRobot's JSON file of this arm.
        clock: what stamps readings.
    """
    return SerialArm(
        "koch",
        DynamixelBus(port),
        mechanical_rad=MECHANICAL_RAD,
        calibration=calibration,
        model_number=MODELS,
        stall_torque_nm=STALL_TORQUE_NM,
        max_speed_radps=MAX_SPEED_RADPS,
        clock=clock,
    )


def koch_twin(
    model: str = "scenes/koch.xml",
    calibration: str | Path | None = None,
    damping_scale: float | Sequence[float] = 1.0,
    friction_scale: float | Sequence[float] = 1.0,
    delay_s: float = 0.0,
):
    """The servos of a twin of the arm.

    Args:
        model: MJCF, relative to `sim_assets/`.
        calibration: what is burnt into its servos; None takes encoders that read 2048 in the middle of every range.
        damping_scale: of the joints' damping, for twins with hidden parameters.
        friction_scale: of the joints' dry friction.
        delay_s: between a goal's arrival and its effect [s].
    """
    from robots.twin.dynamixel import DynamixelServos
    from robots.twin.physics import ArmPhysics

    burnt = load_calibration(Path(calibration)) if calibration else middle_calibration(MECHANICAL_RAD, IDS)
    physics = ArmPhysics(
        sim_assets_dir() / model,
        tuple(MECHANICAL_RAD),
        max_speed_radps=MAX_SPEED_RADPS,
        damping_scale=damping_scale,
        friction_scale=friction_scale,
        delay_s=delay_s,
    )
    return DynamixelServos(
        physics, burnt, scales(burnt, MECHANICAL_RAD), model_numbers=MODELS, stall_torque_nm=STALL_TORQUE_NM
    )


def koch_calibrating(port: str):
    """What `embodied robot calibrate` needs of the arm on a port."""
    from robots.calibrating import Calibratable

    return Calibratable(
        bus=DynamixelBus(port),
        ids=dict(zip(MECHANICAL_RAD, IDS, strict=True)),
        make=lambda motor, offset, low, high: MotorCalibration(motor, 0, offset, low, high),
        check=lambda calibration: scales(calibration, MECHANICAL_RAD),
        save=save_calibration,
    )
