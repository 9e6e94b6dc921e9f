"""The MJCF models: names, the arm's kinematics against published figures, servos, props, reach."""

from __future__ import annotations

from functools import cache

import mujoco
import numpy as np
import pytest

from embodied.core.assets import sim_assets_dir

ARM = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
CAMERAS = ("front", "side", "top", "wrist", "overview")
PROPS = {
    "reach": (),
    "cube": ("cube",),
    "drawer": ("drawer_base", "drawer_tray"),
    "button": ("button_base", "button_cap"),
    "faucet": ("faucet_base", "faucet_lever"),
    "cabinet": ("cabinet_base", "cabinet_door"),
}
# scene: joint, site on the moving part, force there [N] that must move it, tool pitches [deg] that reach it
MOVERS = {
    "drawer": ("drawer_slide", "drawer_handle", (-2.0, 0.0, 0.0), (75, 85, 95)),
    "button": ("button_slide", "button_top", (0.0, 0.0, -2.5), (65, 75, 85)),
    "faucet": ("faucet_hinge", "faucet_handle", (0.0, -2.0, 0.0), (65, 75, 85)),
    "cabinet": ("cabinet_hinge", "cabinet_handle", (-2.0, 0.0, 0.0), (75, 85, 95)),
}
# Joint angles [rad] -> position [m] and orientation (wxyz) of the frame on the fixed jaw, and the moving
# jaw's centre of mass [m], as the arm's published model (so101_new_calib) gives them.
KINEMATICS = [
    ((0.00, 0.00, 0.00, 0.00, 0.00, 0.00), (0.39136, -0.00001, 0.22647),
     (0.99970, 0.02434, 0.00000, 0.00000), (0.34666, -0.00156, 0.25295)),
    ((1.11, 1.02, 0.05, -0.67, -2.32, 0.53), (0.20344, -0.31921, -0.02112),
     (0.21698, 0.81099, -0.41471, -0.35105), (0.15249, -0.28199, -0.03022)),
    ((-0.33, -1.51, -1.45, 1.57, 0.85, 0.26), (-0.12951, -0.06401, 0.32631),
     (0.73865, -0.19864, -0.63086, -0.13021), (-0.16752, -0.05118, 0.28606)),
    ((-0.24, 1.57, 1.28, 1.08, -0.52, 0.73), (-0.05161, -0.01813, 0.16263),
     (-0.33499, -0.21306, 0.86696, -0.30128), (-0.03758, -0.04094, 0.09846)),
    ((0.64, -1.46, 0.18, -0.72, 2.06, -0.05), (-0.05708, 0.06240, 0.43090),
     (-0.05112, 0.57488, 0.28422, 0.76558), (-0.02092, 0.06383, 0.39449)),
    ((0.65, 1.23, -0.88, 1.25, 2.02, -0.13), (0.25170, -0.17107, -0.07279),
     (0.55561, -0.42388, 0.56092, 0.44384), (0.25859, -0.14999, -0.02740)),
    ((0.76, -1.65, 0.01, -0.20, -1.53, 0.43), (-0.05786, 0.10256, 0.42336),
     (0.60574, 0.19154, -0.67990, 0.36623), (-0.07544, 0.06521, 0.37841)),
]  # fmt: skip
ARM_MASS_KG = 0.632006


@cache
def compiled(scene: str) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(str(sim_assets_dir() / "scenes" / f"{scene}.xml"))


def at_home(scene: str, model: mujoco.MjModel | None = None) -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = compiled(scene) if model is None else model
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    mujoco.mj_forward(model, data)
    return model, data


def step_for(model: mujoco.MjModel, data: mujoco.MjData, seconds: float) -> None:
    mujoco.mj_step(model, data, nstep=round(seconds / model.opt.timestep))
    assert not any(w.number for w in data.warning), "MuJoCo warned"


@pytest.mark.parametrize("scene", PROPS)
def test_names_and_home(scene):
    model, data = at_home(scene)
    assert [model.joint(i).name for i in range(6)] == list(ARM), "the arm's joints come first in the state"
    assert [model.actuator(i).name for i in range(model.nu)] == list(ARM)
    for camera in CAMERAS:
        assert model.camera(camera).id >= 0
    for body in ("so101", "gripper", "moving_jaw", *PROPS[scene]):
        assert model.body(body).id > 0
    assert model.site("tool").id >= 0
    assert model.nlight == 1
    np.testing.assert_array_equal(data.act, data.qpos[:6])
    assert 0.15 < data.site("tool").xpos[0] < 0.30
    assert 0.08 < data.site("tool").xpos[2] < 0.2
    if scene in MOVERS:
        joint, site, _, _ = MOVERS[scene]
        assert model.joint(joint).id == 6
        assert model.site(site).id >= 0


@pytest.mark.parametrize("scene", ["reach", "cube"])
def test_the_goal_is_a_marker_without_contacts(scene):
    model, _ = at_home(scene)
    assert model.body("goal").mocapid[0] == 0
    assert model.geom("goal").contype[0] == 0
    assert model.geom("goal").conaffinity[0] == 0


@pytest.mark.parametrize("scene", PROPS)
def test_loads_through_mjspec_as_tasks_do(scene):
    spec = mujoco.MjSpec.from_file(str(sim_assets_dir() / "scenes" / f"{scene}.xml"))
    assert spec.compile().nq == compiled(scene).nq


@pytest.mark.parametrize(("angles", "position", "quaternion", "jaw"), KINEMATICS)
def test_kinematics_equal_the_published_model(angles, position, quaternion, jaw):
    model, data = at_home("reach")
    data.qpos[:6] = angles
    mujoco.mj_forward(model, data)
    site = data.site("gripper_frame")
    ours = np.empty(4)
    mujoco.mju_mat2Quat(ours, site.xmat)
    assert np.linalg.norm(site.xpos - position) < 5e-4
    apart = min(np.linalg.norm(ours - quaternion), np.linalg.norm(ours + np.array(quaternion)))
    assert 2 * apart < np.radians(0.2)
    assert np.linalg.norm(data.body("moving_jaw").xipos - jaw) < 5e-4


def test_mass_is_the_published_one():
    model = compiled("reach")
    assert model.body("so101").subtreemass[0] == pytest.approx(ARM_MASS_KG, rel=0.01)


@pytest.mark.parametrize("scene", PROPS)
def test_rests_at_home(scene):
    model, data = at_home(scene)
    resting = {"table", "cube"}
    for contact in data.contact:
        assert {model.geom(g).name for g in contact.geom} <= resting
    step_for(model, data, 4.0)
    early = data.qpos.copy()
    step_for(model, data, 1.0)
    assert np.abs(data.act - data.qpos[:6]).max() < 0.02, "sag of the servos"
    assert np.abs(data.qpos - early).max() < 1e-4, "drift"
    if scene in MOVERS:
        assert abs(data.qpos[6]) < 1e-3, "the prop moves by itself"


def test_sag_stretched_out():
    model, data = at_home("reach")
    data.qpos[:6] = data.act[:] = (0.0, 1.57, -1.57, 0.0, 0.0, 0.5)
    step_for(model, data, 3.0)
    assert np.abs(data.act - data.qpos[:6]).max() < 0.03


def test_step_response_settles():
    model, data = at_home("reach")
    target = data.qpos[:6] + np.array([0.5, 0.3, -0.3, -0.3, 0.5, 0.3])
    data.ctrl[:] = (target - data.act) / 0.4
    step_for(model, data, 0.4)
    data.ctrl[:] = 0.0
    np.testing.assert_allclose(data.act, target, atol=1e-9)
    peak = np.zeros(6)
    sign = np.sign(target - model.key("home").qpos[:6])
    for _ in range(100):
        mujoco.mj_step(model, data)
        peak = np.maximum(peak, sign * (data.qpos[:6] - target))
    assert peak.max() < 0.06, "overshoot"
    assert np.abs(target - data.qpos[:6]).max() < 0.03
    assert np.abs(data.qvel[:6]).max() < 0.02


def test_speed_without_load_is_the_servos():
    model, data = at_home("reach")
    data.qpos[0], data.act[0] = -1.9, 1.9
    fastest = 0.0
    for _ in range(200):
        mujoco.mj_step(model, data)
        fastest = max(fastest, data.qvel[0])
    assert 4.5 < fastest < 5.6
    np.testing.assert_allclose(model.actuator_ctrlrange, np.tile([-4.71, 4.71], (6, 1)))


@pytest.mark.parametrize("scene", MOVERS)
def test_props_move_under_a_small_force(scene):
    model, data = at_home(scene)
    joint, site, force, _ = MOVERS[scene]
    body = model.site_bodyid[model.site(site).id]
    half = model.joint(joint).range[1] / 2
    for _ in range(600):
        data.qfrc_applied[:] = 0
        point = data.site(site).xpos
        mujoco.mj_applyFT(model, data, np.array(force), np.zeros(3), point, body, data.qfrc_applied)
        mujoco.mj_step(model, data)
    assert data.joint(joint).qpos[0] > (half if scene != "cabinet" else 0.6)


def test_button_springs_back():
    model, data = at_home("button")
    data.joint("button_slide").qpos[0] = 0.009
    step_for(model, data, 1.0)
    assert data.joint("button_slide").qpos[0] < 5e-4


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.03, 0.04), (0.03, -0.04), (-0.04, 0.04), (-0.04, -0.04)])
@pytest.mark.parametrize("scene", MOVERS)
def test_handles_are_in_reach_over_the_whole_motion(scene, shift):
    spec = mujoco.MjSpec.from_file(str(sim_assets_dir() / "scenes" / f"{scene}.xml"))
    base = spec.body(f"{scene}_base")
    base.pos = np.array(base.pos) + (*shift, 0.0)
    model, data = at_home(scene, spec.compile())
    joint, site, _, pitches = MOVERS[scene]
    for travel in (0.0, 0.5, 0.95):
        data.joint(joint).qpos[0] = travel * model.joint(joint).range[1]
        mujoco.mj_kinematics(model, data)
        handle = data.site(site).xpos.copy()
        assert any(_reaches(model, data, handle, np.radians(p)) for p in pitches), (travel, handle)


def _reaches(model: mujoco.MjModel, data: mujoco.MjData, point: np.ndarray, pitch: float) -> bool:
    """Whether damped least squares brings the tool within 2 mm, pitched down to within 3 degrees."""
    q = model.key("home").qpos[:6].copy()
    q[0] = -np.arctan2(point[1], point[0] - 0.0388)
    jacobian = np.zeros((3, model.nv))
    for _ in range(150):
        data.qpos[:6] = q
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        tool = data.site("tool")
        mujoco.mj_jacSite(model, data, jacobian, None, tool.id)
        error = np.append(point - tool.xpos, 0.1 * (pitch - q[1:4].sum()))
        if np.linalg.norm(error[:3]) < 2e-3 and abs(error[3]) < 0.1 * np.radians(3):
            return True
        rows = np.vstack([jacobian[:, :4], 0.1 * np.array([0, 1, 1, 1])])
        q[:4] += np.clip(rows.T @ np.linalg.solve(rows @ rows.T + 1e-6 * np.eye(4), error), -0.2, 0.2)
        q[:4] = np.clip(q[:4], model.jnt_range[:4, 0], model.jnt_range[:4, 1])
    return False


def test_visual_geoms_touch_nothing_and_masks_are_as_documented():
    for scene in PROPS:
        model = compiled(scene)
        touching = {model.geom(i).name for i in np.flatnonzero(model.geom_contype | model.geom_conaffinity)}
        assert {"table", "palm", "fixed_jaw", "moving_jaw"} <= touching
        assert "" not in touching, "every geom with contacts has a name"
        assert len(touching) <= 12
