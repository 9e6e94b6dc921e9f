"""What a reward program may return, and how it is evaluated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from embodied.core.errors import RewardCodeError, TrustError
from embodied.core.quantities import Quantity, Schema
from embodied.core.reward import MAX_ABS, RewardProgram, check_terms
from embodied.core.world import World

SCHEMA = Schema.of([Quantity("x", (3,), "m", "world", "x")])


def world(n: int, seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    before = World(SCHEMA, {"time": np.zeros(n), "x": rng.normal(size=(n, 3))})
    return World(SCHEMA, {"time": np.ones(n), "x": rng.normal(size=(n, 3))}, before)


def program(body: str, evaluation: str = "batched", **more) -> RewardProgram:
    return RewardProgram(source=body, writer="test", task="t", evaluation=evaluation, **more)


GOOD = """
WEIGHTS = {"near": 2.0}
def reward(world, action):
    return {"near": -np.linalg.norm(world.x, axis=-1), "moved": world.x[..., 0] - world.previous.x[..., 0],
            "effort": -np.sum(action**2, axis=-1), "alive": 1.0}
"""


@pytest.mark.parametrize("n", [1, 2, 64])
def test_the_total_is_the_weighted_sum_and_batched_equals_by_row(n):
    action = np.random.default_rng(1).uniform(-1, 1, (n, 2))
    total, terms = program(GOOD).bind(reviewed=True)(world(n), action)
    rows_total, rows_terms = program(GOOD, "by_row").bind(reviewed=True)(world(n), action)
    assert total.shape == (n,)
    np.testing.assert_allclose(total, sum(terms.values()))
    np.testing.assert_allclose(total, rows_total, rtol=1e-12)
    np.testing.assert_allclose(terms["near"], -2 * np.linalg.norm(world(n).x, axis=-1))
    assert terms.keys() == rows_terms.keys()
    heavier, _ = program(GOOD, weights={"near": 4.0}).bind(reviewed=True)(world(n), action)
    np.testing.assert_allclose(heavier - total, terms["near"])


@pytest.mark.parametrize("evaluation", ["batched", "by_row"])
def test_the_callers_action_stays_the_callers(evaluation):
    """The program's copy is read-only; the array that the simulation goes on with is neither locked nor changed."""
    action = np.random.default_rng(1).uniform(-1, 1, (3, 2))
    kept = action.copy()
    bound = program(GOOD, evaluation).bind(reviewed=True)
    bound(world(3), action)
    np.testing.assert_array_equal(action, kept)
    action[:] = 0.5
    assert action.flags.writeable
    leak = program("def reward(world, action):\n    return {'a': action[..., 0]}\n", evaluation).bind(reviewed=True)
    _, terms = leak(world(3), action)
    assert not np.shares_memory(terms["a"], action)


def test_the_published_form_is_called_row_by_row():
    source = "def compute_dense_reward(self, action) -> float:\n    return float(-abs(self.x[0])), {'note': 'x'}\n"
    bound = program(source).bind(reviewed=True)
    assert bound.by_row
    total, terms = bound(world(5), np.zeros((5, 2)))
    np.testing.assert_allclose(total, -np.abs(world(5).x[:, 0]))
    assert list(terms) == ["reward"]


def test_an_open_process_binds_nothing_unreviewed():
    with pytest.raises(TrustError, match="locked process"):
        program(GOOD).bind()


finite = st.floats(-MAX_ABS, MAX_ABS, allow_nan=False)


@settings(max_examples=60)
@given(hnp.arrays(np.float64, 4, elements=finite), st.sampled_from([np.float32, np.float64, np.int64]))
def test_numbers_and_arrays_of_the_batch_are_terms(array, dtype):
    given_array = array.astype(dtype)
    checked = check_terms({"a": given_array, "b": float(array[0]), "c": 3}, (4,))
    np.testing.assert_array_equal(checked["a"], given_array.astype(np.float64))
    assert all(v.shape == (4,) and v.dtype == np.float64 for v in checked.values())


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (True, "bool"),
        (np.array([True] * 4), "dtype bool"),
        ("1", "str"),
        (None, "NoneType"),
        (1j, "complex"),
        (np.zeros(4, complex), "complex"),
        ([0.0] * 4, "list"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.zeros((4, 1)), r"shape \(4, 1\)"),
        (np.zeros((4, 3)), "axis=-1"),
        (math.nan, "not finite"),
        (np.array([0, 0, np.inf, 0]), "not finite"),
        (1.01 * MAX_ABS, "the limit"),
        (np.array([0, 0, -2e6, 0]), "the limit"),
        (10**400, "too large|dtype object"),
        (np.array(["a"] * 4), "dtype"),
        (np.array([None] * 4), "dtype"),
        (lambda: 0, "function"),
    ],
)
def test_anything_else_is_refused_with_its_name(value, match):
    with pytest.raises(RewardCodeError, match=match) as caught:
        check_terms({"effort": value}, (4,))
    assert "effort" in str(caught.value)


def test_term_names_are_identifiers():
    for name in (1, "", "a b", None, "é" * 100 + " "):
        with pytest.raises(RewardCodeError, match="identifiers"):
            check_terms({name: 0.0}, ())


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("def reward(world, action):\n    return {}", "no terms"),
        ("def reward(world, action):\n    return {'a': world.y}", "line 2: AttributeError: unknown quantity 'y'"),
        ("def reward(world, action):\n    return 1 / 0", "line 2: ZeroDivisionError"),
        ("def reward(world, action):\n    world.x[0] = 1", "line 2: ValueError: .*read-only"),
        ("def reward(world, action):\n    action[:] = 0", "line 2: ValueError: .*read-only"),
        ("def reward(world):\n    return 1.0", "TypeError"),
        ("WEIGHTS = {'b': 1.0}\ndef reward(w, a):\n    return {'a': 1.0}", "terms that are not returned: b"),
        ("def reward(w, a):\n    return (1.0, 2.0)", r"\(number, dict"),
    ],
)
def test_faults_of_the_program_carry_its_own_line(source, match):
    bound = program(source).bind(reviewed=True)
    with pytest.raises(RewardCodeError, match=match):
        bound(world(3), np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("", "no function"),
        ("I cannot write that.", "not Python"),
        ("def rewards(w, a):\n    return 0", "defines: rewards"),
        ("def reward(w, a):\n  return 0\n return 1", "not Python"),
        ("x = 1 / 0\ndef reward(w, a):\n    return 0", "line 1: ZeroDivisionError"),
        ("WEIGHTS = {'a': float('nan')}\ndef reward(w, a):\n    return 0", "WEIGHTS"),
        ("\0", "not Python"),
    ],
)
def test_what_cannot_be_bound_says_why(source, match):
    with pytest.raises(RewardCodeError, match=match):
        program(source).bind(reviewed=True)


def test_json_and_back():
    one = program(GOOD, weights={"near": 1.0}, provenance={"round": 2})
    again = RewardProgram.from_json(one.to_json())
    assert again == one
    assert again.sha256 == one.sha256
    with pytest.raises(TypeError):
        RewardProgram.from_json({**one.to_json(), "extra": 1})


def test_a_program_that_hides_its_batch_is_caught_by_shape():
    bound = program("def reward(w, a):\n    return {'a': w.x.sum()}").bind(reviewed=True)
    total, _ = bound(world(3), np.zeros((3, 2)))  # a scalar is spread; the writer's check compares it by row
    assert total.shape == (3,)
