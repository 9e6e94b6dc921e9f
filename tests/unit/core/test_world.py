"""The world is batched, read-only, private, and reads each quantity of one fixed moment."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from embodied.core.errors import ConfigError, UnknownNameError
from embodied.core.quantities import Quantity, Schema
from embodied.core.world import World, frozen, lazy_world

SCHEMA = Schema.of(
    [
        Quantity("gripper.position", (3,), "m", "world", "tool"),
        Quantity("gripper.openness", (), "1", "-", "0 to 1"),
        Quantity("contact_forces", (2, 3), "N", "world", "forces"),
    ],
    {"robot.ee_position": "gripper.position", "cubeA.near": "gripper.openness"},
)


def values(batch: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {p: rng.normal(size=(*batch, *q.shape)) for p, q in SCHEMA.quantities.items()}


class Counting(dict):
    def __init__(self, *args):
        super().__init__(*args)
        self.reads: list[str] = []

    def __getitem__(self, path):
        self.reads.append(path)
        return super().__getitem__(path)


@pytest.fixture(params=["eager", "lazy"])
def make(request):
    return World if request.param == "eager" else lazy_world


def test_attributes_groups_and_aliases_lead_to_the_same_array(make):
    table = values((4,))
    world = make(SCHEMA, table)
    np.testing.assert_array_equal(world.gripper.position, table["gripper.position"])
    assert world.robot.ee_position is world.gripper.position
    assert world.cubeA.near is world.quantity("gripper.openness")
    assert world.quantity("robot.ee_position") is world.gripper.position
    assert world.batch_shape == (4,)
    assert world.time.shape == (4,)
    assert set(world.values()) == set(SCHEMA.quantities)


@settings(max_examples=40, deadline=None)
@given(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), st.integers(0, 100))
def test_any_batch_shape_is_kept(batch, seed):
    for make in (World, lazy_world):
        world = make(SCHEMA, values(batch, seed))
        assert world.batch_shape == batch
        assert world.contact_forces.shape == (*batch, 2, 3)


@pytest.mark.parametrize(
    "name", ["griper", "gripper.positon", "gripper.position.x", "contact_force", "gripper.contact_forces"]
)
def test_a_wrong_name_is_an_attribute_error_with_the_known_names(make, name):
    world = make(SCHEMA, values((2,)))
    with pytest.raises(AttributeError):
        eval(f"world.{name}")
    if name.count(".") < 2:
        with pytest.raises(UnknownNameError, match="Known: "):
            world.quantity(name)


def test_the_closest_name_is_offered(make):
    with pytest.raises(AttributeError, match=r"Did you mean 'gripper\.position'"):
        _ = make(SCHEMA, values((2,))).gripper.positon


def test_nothing_can_be_written(make):
    table = values((4,))
    kept = {path: value.copy() for path, value in table.items()}
    world = make(SCHEMA, table)
    array = world.gripper.position
    with pytest.raises(AttributeError, match="read-only"):
        world.time = 1
    with pytest.raises(AttributeError, match="read-only"):
        world.gripper.position = 1
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 7
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        array.flags.writeable = True
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        array.setflags(write=True)
    with pytest.raises(ValueError, match=r"WRITEABLE|read-only"):
        array.view().setflags(write=True)
    for path, value in kept.items():
        np.testing.assert_array_equal(table[path], value)


def test_no_base_leads_into_the_given_memory(make):
    table = values((4,))
    world = make(SCHEMA, table).rows(slice(0, 3))
    for path in SCHEMA.quantities:
        array = world.quantity(path)
        while isinstance(array, np.ndarray):
            assert not any(np.shares_memory(array, value) for value in table.values())
            array = array.base
        assert array is None or isinstance(array, bytes)


def test_an_eager_world_keeps_its_moment(make):
    table = values((4,))
    world = World(SCHEMA, table)
    before = world.gripper.position.copy()
    table["gripper.position"][:] = 0
    np.testing.assert_array_equal(world.gripper.position, before)


def test_a_lazy_world_reads_each_quantity_once_and_only_when_asked():
    table = Counting(values((4,)))
    world = lazy_world(SCHEMA, table)
    assert table.reads == []
    _ = world.gripper.position, world.gripper.position, world.robot.ee_position
    assert table.reads == ["gripper.position"]
    later = lazy_world(SCHEMA, values((4,), 1), world)
    assert later.previous.gripper.position is world.gripper.position
    assert table.reads == ["gripper.position"]


def test_previous_is_the_step_before_and_no_chain(make):
    first = make(SCHEMA, values((2,), 0))
    assert first.previous is first
    second = make(SCHEMA, values((2,), 1), first)
    third = make(SCHEMA, values((2,), 2), second)
    np.testing.assert_array_equal(third.previous.time, second.time)
    assert third.previous.previous is third.previous  # worlds of old steps are not kept alive


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_are_numpys_indexing(data):
    table, before = values((6,)), values((6,), 1)
    index = data.draw(st.one_of(st.integers(-6, 5), hnp.basic_indices((6,), allow_newaxis=False, allow_ellipsis=False)))
    if isinstance(index, tuple):
        index = index[0] if index else slice(None)
    for make in (World, lazy_world):
        world = make(SCHEMA, table, make(SCHEMA, before)).rows(index)
        for path, value in table.items():
            np.testing.assert_array_equal(world.quantity(path), value[index])
            np.testing.assert_array_equal(world.previous.quantity(path), before[path][index])
        assert world.batch_shape == table["time"][index].shape
    permuted = World(SCHEMA, table).rows([3, 1, 1])
    np.testing.assert_array_equal(permuted.gripper.position, table["gripper.position"][[3, 1, 1]])


def test_a_missing_quantity_or_a_wrong_shape_is_named():
    table = values((4,))
    del table["gripper.openness"]
    with pytest.raises(ConfigError, match=r"missing: gripper\.openness"):
        World(SCHEMA, table)
    with pytest.raises(ConfigError, match=r"'gripper.position' has shape \(4, 2\)"):
        World(SCHEMA, {**values((4,)), "gripper.position": np.zeros((4, 2))})
    with pytest.raises(ConfigError, match=r"'contact_forces' has shape \(3, 2, 3\)"):
        World(SCHEMA, {**values((4,)), "contact_forces": np.zeros((3, 2, 3))})


def test_protocol_probes_do_not_look_like_typos(make):
    world = make(SCHEMA, values((2,)))
    assert not hasattr(world, "__array_interface__")
    assert not hasattr(world.gripper, "__len__")
    assert not hasattr(copy, "nothing")


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, min_side=0)))
def test_frozen_copies_any_shape_and_order(array):
    for given_array in (array, array.T, np.asfortranarray(array)):
        kept = frozen(given_array)
        np.testing.assert_array_equal(kept, given_array)
        assert kept.shape == given_array.shape
        assert not kept.flags.writeable
