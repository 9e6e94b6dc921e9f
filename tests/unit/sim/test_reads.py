"""Reads at a state equal MuJoCo's own forward computation at that state."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from embodied.core.errors import ConfigError, UnknownNameError
from embodied.core.quantities import Quantity
from embodied.sim.engine import BatchEngine, reading_copy
from embodied.sim.reads import (
    FRAME_SENSORS,
    Computed,
    Frame,
    Frames,
    FreeBody,
    JointPosition,
    JointVelocity,
    Parameter,
    Readings,
    Sensor,
    StateSlice,
)

XML = """
<mujoco>
  <option timestep="0.005" integrator="{integrator}"/>
  <worldbody>
    <geom name="floor" type="plane" size="2 2 .1"/>
    <body name="base" pos="0 0 .4">
      <freejoint name="root"/>
      <geom name="trunk" type="box" size=".1 .05 .05" mass="1"/>
      <site name="top" pos=".05 .02 .06" euler="10 20 30"/>
      <body name="arm" pos=".1 0 0">
        <joint name="shoulder" axis="0 1 0" damping=".3" stiffness="2" range="-90 90" limited="true"/>
        <geom name="link" type="capsule" fromto="0 0 0 .2 0 0" size=".02" mass=".3"/>
        <site name="tip" pos=".2 0 0" size=".03"/>
      </body>
    </body>
    <body name="goal" mocap="true" pos=".3 .2 .1"><geom name="mark" size=".02" contype="0" conaffinity="0"/></body>
  </worldbody>
  <actuator><position joint="shoulder" kp="20"/></actuator>
  <sensor>{sensors}</sensor>
</mujoco>
"""
KINDS = {"body": "arm", "site": "tip", "geom": "link"}
FRAME_SOURCES = {f"{kind}.{what}": Frame(kind, KINDS[kind], what) for kind in KINDS for what in FRAME_SENSORS}
EXTRA = {
    "kinematic": '<gyro site="tip"/><velocimeter site="top"/><subtreecom body="base"/><jointvel joint="shoulder"/>'
    '<framepos objtype="body" objname="goal"/><actuatorpos actuator="0"/>'.replace('actuator="0"', 'actuator="a"'),
    "dynamic": '<touch site="tip"/><accelerometer site="tip"/><actuatorfrc actuator="a"/><force site="tip"/>'
    '<jointlimitfrc joint="shoulder"/><jointlimitpos joint="shoulder"/>',
}


def compiled(integrator: str = "Euler", sensors: str = "") -> mujoco.MjModel:
    xml = XML.format(integrator=integrator, sensors=sensors).replace("<position joint", '<position name="a" joint')
    spec = mujoco.MjSpec.from_string(xml)
    for path, source in FRAME_SOURCES.items():
        source.install(spec, path)
    return spec.compile()


def exact(model: mujoco.MjModel, state: np.ndarray, control: np.ndarray) -> np.ndarray:
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    data.ctrl[:] = control
    mujoco.mj_forward(model, data)
    return data.sensordata.copy()


@pytest.mark.parametrize("integrator", ["Euler", "RK4", "implicitfast"])
@pytest.mark.parametrize("extra", ["", "kinematic", "dynamic"])
@pytest.mark.parametrize(("n_substeps", "n_threads"), [(1, 0), (3, 2), (10, 0)])
def test_sensors_at_the_state_equal_forward_at_the_state(integrator, extra, n_substeps, n_threads):
    model = compiled(integrator, EXTRA.get(extra, ""))
    engine = BatchEngine(model, n_envs=4, n_substeps=n_substeps, n_threads=n_threads)
    rng = np.random.default_rng(0)
    engine.states[:, 8] = rng.uniform(-2, 2, 4)  # beyond the joint's range too
    engine.states[:, 9:] = rng.normal(0, 2, (4, 7))
    for _ in range(20):
        engine.step(rng.uniform(-1, 1, (4, 1)))
        got = engine.read()
        for row in range(4):
            want = exact(model, engine.states[row], engine.control[row])
            # Force sensors hang on the contact solver's own tolerance; positions and velocities do not.
            tolerance = 1e-10 if extra != "dynamic" else 1e-6 * max(1.0, np.abs(want).max())
            np.testing.assert_allclose(got[row], want, rtol=0, atol=tolerance)
    engine.close()


def test_a_rollouts_own_sensors_are_one_substep_old():
    engine = BatchEngine(compiled(), n_envs=1, n_substeps=3)
    engine.states[0, 9] = 1.0
    engine.step(np.zeros((1, 1)))
    assert np.abs(engine.lagged_sensors() - engine.read()).max() > 1e-4


def test_contacts_are_left_out_only_where_no_sensor_needs_them():
    contact = int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
    assert reading_copy(compiled(sensors=EXTRA["kinematic"])).opt.disableflags & contact
    assert not reading_copy(compiled(sensors=EXTRA["dynamic"])).opt.disableflags & contact


def test_reading_some_rows_uses_their_models_and_touches_nothing():
    engine = BatchEngine(compiled(), n_envs=4, n_substeps=2)
    engine.edit(2, "body_pos", 3, [1.0, 2.0, 3.0])
    engine.edit(1, "site_pos", 1, [0.4, 0.0, 0.0])
    states = engine.states.copy()
    everything = engine.read()
    np.testing.assert_array_equal(engine.read(states[[2, 1]], [2, 1]), everything[[2, 1]])
    assert not np.array_equal(everything[0], everything[1])
    np.testing.assert_array_equal(engine.states, states)
    with pytest.raises(ConfigError, match="read of 3 states with 4 models"):
        engine.read(states[:3])
    many = engine.read(np.repeat(states[:1], 9, axis=0), [0] * 9)  # more states than environments
    np.testing.assert_array_equal(many, np.repeat(everything[:1], 9, axis=0))


def test_a_mocap_body_is_read_where_the_control_puts_it():
    spec = int(mujoco.mjtState.mjSTATE_CTRL) | int(mujoco.mjtState.mjSTATE_MOCAP_POS)
    model = compiled(sensors=EXTRA["kinematic"])
    engine = BatchEngine(model, n_envs=2, n_substeps=2, control_spec=spec)
    at = int(model.sensor_adr[4])
    np.testing.assert_allclose(engine.read()[:, at : at + 3], [[0.3, 0.2, 0.1]] * 2)
    engine.step(np.array([[0, 1.0, 2.0, 3.0], [0, 4.0, 5.0, 6.0]]))
    np.testing.assert_allclose(engine.read()[:, at : at + 3], [[1, 2, 3], [4, 5, 6]])


def test_masses_edited_for_one_environment_equal_a_model_compiled_so():
    spec = mujoco.MjSpec.from_string(XML.format(integrator="Euler", sensors="").replace('mass="1"', 'mass="2"'))
    heavy = spec.compile()
    model = mujoco.MjSpec.from_string(XML.format(integrator="Euler", sensors="")).compile()
    edited, other = BatchEngine(model, n_envs=2, n_substeps=2), BatchEngine(heavy, n_envs=2, n_substeps=2)
    for field in ("body_mass", "body_inertia"):
        edited.edit(0, field, slice(None), getattr(heavy, field))
    edited.settle()
    for field in ("body_subtreemass", "body_invweight0", "dof_invweight0"):
        np.testing.assert_allclose(getattr(edited.model_of(0), field), getattr(heavy, field), err_msg=field)
        np.testing.assert_array_equal(getattr(edited.model_of(1), field), getattr(model, field))
    for engine in (edited, other):
        engine.states[:, 3] = 0.06  # falls onto the floor
    for _ in range(100):
        np.testing.assert_allclose(edited.step(np.ones((2, 1)))[0], other.step(np.ones((2, 1)))[0], rtol=0, atol=1e-9)


def test_sources_read_their_part_of_the_state():
    model = compiled()
    rng = np.random.default_rng(0)
    states, sensors = rng.normal(size=(5, 1 + model.nq + model.nv)), rng.normal(size=(5, model.nsensordata))
    frames = Frames(states, sensors, {"goal": rng.normal(size=(5, 3))})

    def read(source, name="x"):
        return source.bind(model, name)(frames, {})

    np.testing.assert_array_equal(read(JointPosition("shoulder")), states[:, 8])
    np.testing.assert_array_equal(read(JointPosition(["shoulder"])), states[:, 8:9])
    np.testing.assert_array_equal(read(JointVelocity("shoulder")), states[:, 15])
    np.testing.assert_array_equal(read(StateSlice("qvel", 1, 3)), states[:, 10:12])
    np.testing.assert_array_equal(read(StateSlice("qpos", index=-1)), states[:, 8])
    np.testing.assert_array_equal(read(FreeBody("root", "quaternion")), states[:, 4:8])
    np.testing.assert_array_equal(read(FreeBody("root", "angular_velocity")), states[:, 12:15])
    np.testing.assert_array_equal(read(Parameter("goal")), frames.parameters["goal"])
    for path, source in FRAME_SOURCES.items():
        assert read(source, path).shape == (5, 4 if path.endswith("quaternion") else 3)


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (JointPosition("sholder"), "Did you mean 'shoulder'"),
        (FreeBody("root", "positon"), "Did you mean 'position'"),
        (Sensor("nothing"), "unknown sensor 'nothing'"),
        (Frame("site", "tip", "positions"), "Did you mean 'position'"),
    ],
)
def test_wrong_names_are_answered_with_the_right_ones(source, match):
    def use():
        source.install(mujoco.MjSpec(), "q")
        source.bind(compiled(), "q")

    with pytest.raises(UnknownNameError, match=match):
        use()


def test_readings_are_evaluated_once_and_only_when_asked_for():
    calls: list[str] = []

    def formula(values):
        calls.append("twice")
        return 2 * values["height"]

    table = {
        Quantity("height", (), "m", "world", "h"): StateSlice("qpos", index=2),
        Quantity("twice", (), "m", "world", "2 h"): Computed(formula),
        Quantity("wrong", (3,), "m", "world", "not so long"): StateSlice("qpos", 0, 2),
    }
    model = compiled()
    readers = {q.path: (q.shape, s.bind(model, q.path)) for q, s in table.items()}
    states = np.random.default_rng(0).normal(size=(5, 1 + model.nq + model.nv))
    readings = Readings(readers, Frames(states, np.empty((5, 0)), {}), np.ones(5), "a test")
    assert list(readings) == ["time", "height", "twice", "wrong"]
    assert calls == []
    np.testing.assert_array_equal(readings["twice"], 2 * states[:, 3])
    np.testing.assert_array_equal(readings["twice"], 2 * states[:, 3])
    np.testing.assert_array_equal(readings["time"], states[:, 0] - 1)
    assert calls == ["twice"]
    with pytest.raises(ConfigError, match=r"'wrong' is declared \(3,\) but its source gives \(2,\)"):
        readings["wrong"]
