"""Schemas: names, aliases, JSON, class listing."""

from __future__ import annotations

import ast
import keyword
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.core.errors import ConfigError, UnknownNameError
from embodied.core.quantities import Quantity, Schema


def quantity(path: str, shape: tuple[int, ...] = (3,)) -> Quantity:
    return Quantity(path, shape, "m", "world", f"the {path}")


part = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True).filter(lambda s: not keyword.iskeyword(s))
paths = st.lists(part, min_size=1, max_size=3).map(".".join)
RESERVED = {"time", "previous", "quantity", "values", "rows", "schema", "batch_shape"}


@st.composite
def schemas(draw):
    found = draw(st.lists(paths, max_size=8, unique=True))
    keep = [p for p in found if p.split(".")[0] not in RESERVED]
    keep = [p for p in keep if not any(q.startswith(p + ".") for q in keep)]
    shapes = draw(st.lists(st.sampled_from([(), (3,), (2, 4)]), min_size=len(keep), max_size=len(keep)))
    return Schema.of([quantity(p, s) for p, s in zip(keep, shapes, strict=True)])


@given(schemas())
def test_json_and_back(schema):
    again = Schema.from_json(schema.to_json())
    assert again == schema
    assert list(again.quantities) == list(schema.quantities)


@given(schemas())
def test_the_class_listing_is_python_and_names_every_quantity_under_its_group(schema):
    tree = ast.parse(schema.class_listing())
    classes = {node.name: node for node in tree.body}
    assert len(classes) == len(tree.body), "two classes of one name"
    for path in schema.quantities:
        owner = "World"
        for name in path.split("."):
            fields = {line.target.id: line.annotation.id for line in classes[owner].body}
            owner = fields[name]
        assert owner == "Array"
    assert {line.target.id for line in classes["World"].body} >= {"time", "previous"}


@given(schemas())
def test_groups_are_the_proper_prefixes(schema):
    for path in schema.quantities:
        parts = path.split(".")
        assert {".".join(parts[:i]) for i in range(1, len(parts))} <= schema.groups
    assert not schema.groups & set(schema.quantities)


@pytest.mark.parametrize(
    "path",
    ["", "Gripper", "gripper.", ".x", "a..b", "a b", "a-b", "1a", "class", "a.lambda", "a\n", "é", "_a", "a._b"]
    + sorted(RESERVED - {"time"})
    + ["previous.x", "rows.x", "time.x"],
)
def test_bad_paths_are_refused(path):
    with pytest.raises(ConfigError):
        quantity(path)


@pytest.mark.parametrize("alias", ["previous.goal", "rows", "a b", "a.import", "_x", "", "time"])
def test_bad_aliases_are_refused(alias):
    with pytest.raises(ConfigError):
        Schema.of([quantity("gripper.position")], {alias: "gripper.position"})


def test_an_alias_of_nothing_offers_the_closest():
    with pytest.raises(UnknownNameError, match=re.escape("Did you mean 'gripper.position'")):
        Schema.of([quantity("gripper.position")], {"robot.ee": "griper.position"})


def test_doubles_and_prefixes_are_refused():
    with pytest.raises(ConfigError, match="twice"):
        Schema.of([quantity("a"), quantity("a")])
    with pytest.raises(ConfigError, match="also the group"):
        Schema.of([quantity("a"), quantity("a.b")])
    with pytest.raises(ConfigError, match="also the group"):
        Schema.of([quantity("a.b")], {"a.b.c": "a.b"})
    with pytest.raises(ConfigError, match="hides"):
        Schema.of([quantity("a"), quantity("b")], {"a": "b"})


def test_a_quantity_is_found_by_alias():
    schema = Schema.of([quantity("cube.position")], {"cubeA.p": "cube.position"})
    assert schema["cubeA.p"] is schema["cube.position"]
    with pytest.raises(UnknownNameError):
        schema["cubeB.p"]
