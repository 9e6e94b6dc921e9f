"""A robot of a Menagerie checkout in the place of ours: its physics, our names."""

import mujoco
import numpy as np
import pytest

from embodied.core.errors import ConfigError
from embodied.rl.writing import make_task
from embodied.sim.menagerie import VARIABLE

# The Panda's chain in Denavit-Hartenberg frames: position and orientation of each link in the one before.
CHAIN = (
    ("0 0 0.333", "1 0 0 0"),
    ("0 0 0", "1 -1 0 0"),
    ("0 -0.316 0", "1 1 0 0"),
    ("0.0825 0 0", "1 1 0 0"),
    ("-0.0825 0.384 0", "1 -1 0 0"),
    ("0 0 0", "1 1 0 0"),
    ("0.088 0 0", "1 1 0 0"),
)
TETRAHEDRON = "v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nv 0 0 0.1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"


def arm(chain=CHAIN, joint="joint"):
    """An arm as a checkout would hold it, with a mass, a capsule and a mesh per link that are not ours."""
    inside = ""
    for i, (pos, quat) in reversed(list(enumerate(chain, 1))):
        inside = f"""<body name="link{i}" pos="{pos}" quat="{quat}">
          <inertial mass="{i}.5" pos="0.01 0.02 0.0{i}" quat="1 0.2 0.1 0" diaginertia="0.02 0.015 0.01"/>
          <joint name="{joint}{i}" axis="0 0 1" range="-{i} {i}" damping="0.{i}" armature="0.03"/>
          <geom class="touch" type="capsule" fromto="0 0 0 0 0.05 0.1" size="0.03"/>
          <geom class="touch" type="box" pos="0 0.01 0" euler="0.3 0 0" size="0.02 0.03 0.04"/>
          <geom class="show" mesh="tetrahedron" material="white" pos="0 0 0.0{i}"/>{inside}</body>"""
    return f"""<mujoco><compiler angle="radian" meshdir="assets" autolimits="true"/>
      <default><default class="show"><geom type="mesh" contype="0" conaffinity="0"/></default>
        <default class="touch"><geom group="3" friction="0.7"/></default></default>
      <asset><material name="white" rgba="1 1 1 1"/><mesh file="tetrahedron.obj"/></asset>
      <worldbody>
        <body name="link0"><inertial mass="1" pos="0 0 0" diaginertia="0.01 0.01 0.01"/>{inside}</body>
      </worldbody>
      </mujoco>"""


def checkout(folder, text, name="franka_emika_panda/panda.xml"):
    path = folder / name
    (path.parent / "assets").mkdir(parents=True)
    (path.parent / "assets/tetrahedron.obj").write_text(TETRAHEDRON)
    path.write_text(text)
    return folder


def posed(model, names, angles):
    data = mujoco.MjData(model)
    for name, angle in zip(names, angles, strict=True):
        data.joint(name).qpos = angle
    mujoco.mj_forward(model, data)
    return data


def test_the_links_are_theirs_wherever_the_joints_are(tmp_path, monkeypatch):
    own, rng = make_task("manipulator/touch").model, np.random.default_rng(0)
    monkeypatch.setenv(VARIABLE, str(checkout(tmp_path, arm())))
    model = make_task("manipulator/touch").model
    theirs = mujoco.MjModel.from_xml_path(str(tmp_path / "franka_emika_panda/panda.xml"))
    assert (model.nq, model.nu, model.nsite) == (own.nq, own.nu, own.nsite)
    assert [model.joint(i).name for i in range(model.njnt)] == [own.joint(i).name for i in range(own.njnt)]
    np.testing.assert_array_equal(model.key_qpos, own.key_qpos)
    np.testing.assert_array_equal(model.actuator_gainprm, own.actuator_gainprm)
    joints = [f"joint{i}" for i in range(1, 8)]
    for _ in range(5):
        angles = rng.uniform(-1.0, 1.0, 7)
        ours, other = posed(model, joints, angles), posed(theirs, joints, angles)
        for i in range(1, 8):
            link = f"link{i}"
            assert model.body(link).mass == theirs.body(link).mass
            np.testing.assert_allclose(ours.body(link).xipos, other.body(link).xipos, atol=1e-9)
            np.testing.assert_allclose(inertia(model, ours, link), inertia(theirs, other, link), atol=1e-9)
            touching = 2 if i >= 5 else 0  # two shapes that touch, then one to be seen
            np.testing.assert_allclose(
                shapes(model, ours, link), shapes(theirs, other, link)[2 - touching :], atol=1e-9
            )
    for i, name in enumerate(joints, 1):
        np.testing.assert_array_equal(model.joint(name).range, [-i, i])
        assert model.joint(name).damping == pytest.approx(i / 10)


def inertia(model, data, body):
    """Rotational inertia about the centre of mass in world axes `(3, 3)` [kg m^2]."""
    turn = data.body(body).ximat.reshape(3, 3)
    return turn @ np.diag(model.body(body).inertia) @ turn.T


def shapes(model, data, body):
    """Positions of a body's geoms in the world, in order."""
    first, count = model.body(body).geomadr[0], model.body(body).geomnum[0]
    return data.geom_xpos[first : first + count]


def test_only_the_named_links_touch_and_the_table_alone(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(checkout(tmp_path, arm())))
    model = make_task("manipulator/touch").model
    for i in range(1, 8):
        first, count = model.body(f"link{i}").geomadr[0], model.body(f"link{i}").geomnum[0]
        touching = {(int(model.geom_contype[g]), int(model.geom_conaffinity[g])) for g in range(first, first + count)}
        assert touching == ({(0, 0), (0, 1)} if i >= 5 else {(0, 0)})


def test_without_the_variable_the_model_is_ours(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert make_task("manipulator/touch").model.nmesh == 0


def test_a_folder_without_the_robot_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError, match=r"unitree_go2/go2\.xml.*checkout"):
        _ = make_task("quadruped/sit_down").model


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (arm(joint="axis"), "has no joint1, joint2"),
        (arm((*CHAIN[:2], ("0 -0.4 0", "1 1 0 0"), *CHAIN[3:])), r"joint\d is 84\.0 mm"),
        (arm((CHAIN[0], ("0 0 0", "1 1 0 0"), *CHAIN[2:])), "another mechanism"),
    ],
    ids=["names", "lengths", "axes"],
)
def test_another_mechanism_is_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.setenv(VARIABLE, str(checkout(tmp_path, text)))
    with pytest.raises(ConfigError, match=message):
        _ = make_task("manipulator/touch").model
