"""Parts are built from configuration: only ours, with their real keys."""

from __future__ import annotations

import pytest
import yaml

from embodied.core.assets import conf_dir
from embodied.core.build import build, resolve
from embodied.core.errors import ConfigError, UnknownNameError

RANDOMIZATION = "embodied.sim.randomization.Randomization"


def test_a_part_is_built_with_its_keys():
    assert build({"_target_": RANDOMIZATION, "mass_factor": 1.5}).mass_factor == 1.5
    assert build({"_target_": RANDOMIZATION}, mass_factor=1.5).mass_factor == 1.5


def test_nested_parts_are_built_first():
    box = {"_target_": "embodied.safety.envelope.Box", "low_m": [0, 0, 0], "high_m": [1, 1, 1]}
    envelope = yaml.safe_load((conf_dir() / "safety" / "tabletop.yaml").read_text())
    assert build({**envelope, "workspace": box}).workspace == build(box)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.run",
        "builtins.eval",
        "numpy.load",
        "embodied.core.files.os.system",  # through a module that ours imports
        "embodied.core.files.json.loads",
        "embodied.core.build.importlib.import_module",
        "embodied.core.files.Path",  # a re-export: its own module is pathlib
        "embodied.sim.task.np",
        "embodied.sim.task.Mapping",
        "embodied_evil.x",
        "robotsx.y",
        "",
        ".",
        "embodied",
        "..os.system",
    ],
)
def test_what_is_not_ours_is_refused(target):
    with pytest.raises(ConfigError):
        build({"_target_": target})


@pytest.mark.parametrize("target", [None, 3, ["os.system"], {"a": 1}])
def test_a_target_that_is_no_name_is_refused(target):
    with pytest.raises(ConfigError):
        build({"_target_": target})


def test_a_trusted_package_is_trusted_by_its_top_name_alone():
    assert resolve("fractions.Fraction", ["fractions"])
    with pytest.raises(ConfigError, match="trusted_packages"):
        resolve("fractions.Fraction", ["frac"])


def test_a_wrong_key_is_answered_with_the_real_ones():
    with pytest.raises(UnknownNameError, match="Did you mean 'mass_factor'") as caught:
        build({"_target_": RANDOMIZATION, "mas_factor": 1.5})
    assert "friction_factor" in str(caught.value)


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match="needs the keys joints, workspace"):
        build({"_target_": "embodied.safety.envelope.Envelope", "keep_outs": [], "persistence_s": 1})
    with pytest.raises(ConfigError, match="without '_target_'"):
        build({"mass_factor": 1})


def test_a_wrong_name_offers_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'Randomization'"):
        build({"_target_": "embodied.sim.randomization.Randomisation"})
    with pytest.raises(ConfigError, match="No module named"):
        build({"_target_": "embodied.sim.nothing.X"})
