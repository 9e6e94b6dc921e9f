"""System identification recovers what a twin hides."""

import mujoco
import numpy as np
import pytest
from arms import bench, ticks

from embodied.core.assets import sim_assets_dir
from embodied.core.errors import ConfigError
from embodied.deploy.identify import Recording, identify
from embodied.deploy.moves import swing

MODEL = sim_assets_dir() / "scenes" / "reach.xml"
CENTER = (0.0, -0.7, 0.6, 0.9, 0.05, 0.7)


def recorded(folder, seconds=8.0, **hidden):
    twin_config = {"_target_": "robots.so101.so101_twin", **hidden}
    with bench(folder, twin=twin_config) as (loop, twin, clock):
        loop.arm()
        ticks(loop, twin, clock, 120)
        loop.go_to(CENTER)
        while not loop.at_pose:
            ticks(loop, twin, clock, 1)
        ticks(loop, twin, clock, 50)

        def advance():
            twin.advance(loop.gate.dt_s)
            clock.advance_s(loop.gate.dt_s)

        return swing(loop, CENTER, seconds, advance)


def test_hidden_friction_damping_and_delay_are_recovered(tmp_path):
    friction, damping = [2.5, 1.8, 3.0, 0.5, 2.0, 1.5], [1.4, 0.7, 1.2, 1.5, 0.8, 1.3]
    recording = recorded(tmp_path, friction_scale=friction, damping_scale=damping, delay_s=0.03)
    model = mujoco.MjModel.from_xml_path(str(MODEL))
    found = identify(model, servos(model), recording, say=lambda text: None)
    dofs = [model.joint(j).dofadr[0] for j in found.friction_nm]
    assert list(found.friction_nm.values()) == pytest.approx(model.dof_frictionloss[dofs] * friction, rel=0.1)
    assert list(found.damping.values()) == pytest.approx(model.dof_damping[dofs] * damping, rel=0.1)
    assert found.delay_s == pytest.approx(0.03, rel=0.1)
    assert found.error_after_rad < 0.2 * found.error_before_rad


def servos(model):
    return [model.actuator(i).name for i in range(6)]


def test_a_motion_that_shows_nothing_is_refused():
    model = mujoco.MjModel.from_xml_path(str(MODEL))
    still = np.tile(CENTER, (500, 1))
    with pytest.raises(ConfigError, match=r"shoulder_pan.*moved too little"):
        identify(model, servos(model), Recording(0.01, still, still, still))
