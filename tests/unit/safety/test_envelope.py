"""An envelope has every bound written down, and says what is wrong with it."""

from __future__ import annotations

import copy
import math

import pytest
import yaml

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.errors import ConfigError
from embodied.safety.envelope import Box, Envelope, JointLimits, load_envelope

PATH = conf_dir() / "safety" / "tabletop.yaml"


def plain() -> dict:
    data = yaml.safe_load(PATH.read_text())
    del data["_target_"]
    return data


@pytest.mark.parametrize("path", sorted((conf_dir() / "safety").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_envelope_is_valid_both_ways(path):
    envelope = load_envelope(path)
    assert envelope == build(yaml.safe_load(path.read_text()))
    assert all(isinstance(limits, JointLimits) for limits in envelope.joints.values())


def test_the_tabletop_envelope_fits_the_arm():
    from embodied.sim.tabletop import JOINTS

    task = build(yaml.safe_load((conf_dir() / "task" / "reach.yaml").read_text()))
    envelope = load_envelope(PATH)
    assert envelope.joint_names == JOINTS
    for name in JOINTS:
        low, high = task.model.joint(name).range
        assert envelope.joints[name].low_rad >= low - 1e-4
        assert envelope.joints[name].high_rad <= high + 1e-4


def removals():
    data = plain()
    yield from ((key,) for key in data)
    yield from (("joints", "elbow_flex", key) for key in data["joints"]["elbow_flex"])
    yield from (("workspace", key) for key in data["workspace"])
    yield from (("keep_outs", 0, key) for key in data["keep_outs"][0])


@pytest.mark.parametrize("where", list(removals()), ids=lambda w: ".".join(map(str, w)))
def test_no_bound_has_a_default(where):
    data = plain()
    node = data
    for key in where[:-1]:
        node = node[key]
    del node[where[-1]]
    with pytest.raises((ConfigError, TypeError), match=where[-1]):
        load(data)
    with pytest.raises(ConfigError, match=where[-1]):
        build({"_target_": "embodied.safety.envelope.Envelope", **data})


def load(data: dict) -> Envelope:
    return Envelope(**data)


@pytest.mark.parametrize(
    ("where", "value", "match"),
    [
        (("joints", "gripper", "low_rad"), 3.0, "joint 'gripper': low_rad=3.0 must lie below high_rad"),
        (("joints", "gripper", "low_rad"), math.nan, "low_rad=nan must be a finite number"),
        (("joints", "gripper", "high_rad"), math.inf, "high_rad=inf must be a finite number"),
        (("joints", "gripper", "max_velocity_radps"), -1, "max_velocity_radps=-1 must be a positive number"),
        (("joints", "gripper", "max_velocity_radps"), None, "max_velocity_radps=None must be a positive"),
        (("joints", "gripper", "max_velocity_radps"), True, "max_velocity_radps=True must be a positive"),
        (("joints", "gripper", "max_torque_nm"), "2", "max_torque_nm='2' must be a positive"),
        (("joints", "gripper", "max_velocity_rad"), 1, "Did you mean 'max_velocity_radps'"),
        (("joints", "gripper"), 3, "joint 'gripper'=3 must be a mapping"),
        (("joints",), {}, "needs 'joints'"),
        (("workspace", "low_m"), [1, 2], "must be three numbers"),
        (("workspace", "low_m"), [9, 9, 9], "must lie below high_m"),
        (("workspace",), None, "workspace=None must be a mapping"),
        (("keep_outs",), {"low_m": [0, 0, 0]}, "keep_outs must be a list"),
        (("max_action_age_s",), 0, "max_action_age_s=0 must be a positive"),
        (("persistence_s",), math.nan, "persistence_s=nan must be a positive"),
    ],
)
def test_wrong_bounds_are_named(where, value, match):
    data = copy.deepcopy(plain())
    node = data
    for key in where[:-1]:
        node = node[key]
    node[where[-1]] = value
    with pytest.raises(ConfigError, match=match):
        load(data)


def test_no_limit_has_to_be_written():
    data = plain()
    data["joints"]["gripper"]["max_acceleration_radps2"] = math.inf
    assert load(data).joints["gripper"].max_acceleration_radps2 == math.inf


def test_a_missing_or_broken_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ConfigError, match="does not move without one"):
        load_envelope(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("joints: [")
    with pytest.raises(ConfigError, match="is not yaml"):
        load_envelope(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="must be a mapping"):
        load_envelope(tmp_path / "list.yaml")


def test_the_tool_may_be_in_the_workspace_and_outside_keep_outs():
    envelope = load_envelope(PATH)
    assert envelope.allows_tool_at((0.25, 0.0, 0.1))
    assert not envelope.allows_tool_at((0.25, 0.0, -0.01))
    assert not envelope.allows_tool_at((0.06, 0.0, 0.05))  # the base
    assert not envelope.allows_tool_at((math.nan, 0.0, 0.1))
    assert Box([0, 0, 0], [1, 1, 1]).contains((1, 1, 1))
