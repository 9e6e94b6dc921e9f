"""Calibration by hand, with a twin that was never calibrated and hands that move it."""

import time

import numpy as np
import pytest

from embodied.core.clock import VirtualClock
from embodied.core.errors import CalibrationError
from robots.calibrating import calibrate
from robots.calibration import RAD_PER_COUNT, load_calibration
from robots.so101 import MECHANICAL_RAD, so101, so101_calibrating
from robots.twin.process import TwinProcess

LOW, HIGH = np.array(list(MECHANICAL_RAD.values())).T
MIDDLE = 0.5 * (LOW + HIGH)


def hands(twin, reach=1.0):
    """A person: the middle first, then slowly to both ends."""
    asked = []

    def ask(text):
        asked.append(text)
        if len(asked) == 1:
            twin.place(MIDDLE)
        elif len(asked) == 3:
            for share in [*np.linspace(0, -1, 15), *np.linspace(-1, 1, 30)]:
                twin.place(MIDDLE + 0.5 * reach * share * (HIGH - LOW))
                time.sleep(0.03)
        return ""

    return ask


@pytest.mark.parametrize("shift", [0, 900, 1900, -1900], ids=lambda s: f"encoders turned by {s}")
def test_a_calibrated_arm_reads_the_angles_that_its_joints_have(tmp_path, shift):
    twin_config = {"_target_": "robots.so101.so101_twin", "encoder_shift": shift}
    with TwinProcess(twin_config, manual=True) as twin:
        path = calibrate(so101_calibrating(twin.port), tmp_path / "arm.json", hands(twin), lambda text: None)
        found = load_calibration(path)
        assert all(0 <= motor.range_min < motor.range_max < 4096 for motor in found.values())
        twin.place([0.3, -0.5, 0.6, 0.9, 0.2, 0.8])
        arm = so101(twin.port, path, VirtualClock())
        arm.connect()
        try:
            truth = twin.state()["position_rad"]
            assert arm.observe().position_rad == pytest.approx(truth, abs=12 * RAD_PER_COUNT)
            arm.arm()
            target = [0.5, -0.4, 0.7, 0.8, 0.1, 0.6]
            arm.send(target)
            twin.advance(2.0)
            assert twin.state()["position_rad"] == pytest.approx(target, abs=0.06)
        finally:
            arm.disconnect()


def test_joints_that_were_not_moved_are_named_and_nothing_is_written(tmp_path):
    with TwinProcess({"_target_": "robots.so101.so101_twin", "encoder_shift": 300}, manual=True) as twin:
        parts = so101_calibrating(twin.port)
        with pytest.raises(CalibrationError, match=r"'shoulder_pan'.*sweep did not reach both ends"):
            calibrate(parts, tmp_path / "arm.json", hands(twin, reach=0.3), lambda text: None)
        assert not (tmp_path / "arm.json").exists()
        parts.bus.open()
        assert parts.bus.stored_calibration(1) == (0, 0, 4095)
        parts.bus.close()
