"""The static check: what sound programs may do, and what is rejected with which words."""

# ruff: noqa: SIM905 - long lists of names read better as text
from __future__ import annotations

import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.core.errors import RewardCodeError
from embodied.core.quantities import Quantity, Schema
from embodied.sandbox import allow_list
from embodied.sandbox.static_check import check_source

SCHEMA = Schema.of(
    [
        Quantity("gripper.position", (3,), "m", "world", "tool centre"),
        Quantity("gripper.opening", (), "m", "-", "distance of the fingers"),
        Quantity("drawer.handle.position", (3,), "m", "world", "middle of the handle"),
        Quantity("drawer.base", (3,), "m", "world", "a component named like an array attribute"),
        Quantity("drawer.load", (), "N", "-", "a component named like a numpy function"),
        Quantity("cube.position", (3,), "m", "world", "centre of the cube"),
        Quantity("goal_position", (3,), "m", "world", "where to go"),
    ],
    aliases={"robot.ee_position": "gripper.position", "obj1.position": "cube.position"},
)


def check(body: str, head: str = "def reward(world, action):"):
    return check_source("import numpy as np\nimport math\n" + head + "\n" + textwrap.indent(body, "    "), SCHEMA)


@pytest.mark.parametrize(
    "body",
    [
        'return {"a": -np.linalg.norm(world.gripper.position - world.cube.position, axis=-1)}',
        'ee = world.gripper\nreturn {"a": ee.position[..., 2] - ee.opening}',
        'before = world.previous\nhand = before.gripper\nreturn {"a": hand.position.sum(axis=-1)}',
        'return {"a": world.previous.drawer.handle.position[..., 0], "t": world.time}',
        'return {"a": world.robot.ee_position[..., 0] - world.obj1.position[..., 1]}',
        "terms = {}\nfor name, thing in (('a', world.cube), ('b', world.gripper)):\n"
        "    terms[name] = thing.position[..., 0]\nreturn terms",
        "parts = [p.position[..., 0] for p in (world.cube, world.gripper)]\nreturn {'a': sum(parts)}",
        "terms = {'a': world.time}\nterms.update({'b': world.time * 2})\nterms['c'] = terms.get('a', 0.0)\n"
        "return {k: v for k, v in terms.items()}",
        "total = np.zeros_like(world.time)\nfor i in range(3):\n    total += world.cube.position[..., i]\n"
        "return {'a': total}",
        "near = np.where(world.gripper.opening > 0.02, 1.0, 0.0)\n"
        "return {'a': near if near.ndim == 0 else near.copy()}",
        "return {'a': math.pi * np.exp(-world.time), **{'b': world.time}}",
        "dist: float = 1.0\n_, low = (1, 2)\nreturn {'a': world.time * dist ** 2 * low}",
        "values = []\nvalues.append(world.time)\nreturn {'a': values[0]}",
        "if action.shape[-1] > 2 and not False:\n    pass\nelif action.ndim:\n    pass\nreturn {'a': 1.0}",
        "import numpy as np\nreturn {'a': np.stack([world.time, world.time], axis=-1).max(axis=-1)}",
        "return {'a': np.clip(world.time, 0, 1)[..., np.newaxis].squeeze(-1)}",
        "sum_ = sum([1.0, 2.0])\nmax = 3.0\nreturn {'a': world.time * sum_ * max}",
        "p = world.cube.position\np[0] = 1.0\nreturn {'a': p}",  # fails when it runs, with its line
    ],
)
def test_sound_programs_pass(body):
    result = check(body)
    assert result.ok, str(result)
    assert result.entry == "reward"


def test_module_level_helpers_constants_annotations_and_docstrings_pass():
    source = '''
"""Open the drawer."""
from __future__ import annotations
from typing import Dict, Tuple
import numpy as np
from math import sqrt

WEIGHTS = {"reach": 1.0, "open": 2.0}
LIMITS: Tuple[float, float] = (0.0, 0.2)
OFFSET = np.array([0.0, 0.0, 0.05])
GAIN = 2 * LIMITS[1] if False else -1.5

def _distance(a: "np.ndarray", b: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Scaled distance."""
    return scale * np.linalg.norm(a - b - OFFSET, axis=-1)

def reward(world: World, action: np.ndarray) -> Dict[str, np.ndarray]:
    weights = dict(WEIGHTS)
    weights["reach"] = 0.5
    d = _distance(world.gripper.position, world.drawer.handle.position, scale=sqrt(2.0))
    return {"reach": weights["reach"] * (1.0 - np.tanh(5.0 * d)), "open": WEIGHTS["open"] * world.time}
'''
    result = check_source(source, SCHEMA)
    assert result.ok, str(result)
    assert result.reads == ("drawer.handle.position", "gripper.position", "time")


def test_published_form_passes_with_its_own_names():
    result = check(
        "d = np.linalg.norm(self.robot.ee_position - self.obj1.position)\nreturn float(-d), {'d': d}",
        "def compute_dense_reward(self, action) -> float:",
    )
    assert result.ok, str(result)
    assert result.entry == "compute_dense_reward"
    assert result.reads == ("cube.position", "gripper.position")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("return world.gripper.positon", "'gripper' has no attribute 'positon'. Did you mean 'position'?"),
        ("return world.griper.position", "the world has no attribute 'griper'. Did you mean 'gripper'?"),
        ("ee = world.gripper\nreturn ee.velocity", "'gripper' has no attribute 'velocity'"),
        ("return world.previous.previous.time", "one step back"),
        ("return world.gripper.position.tofile('x')", "attribute 'tofile' is not allowed"),
        ("return world.gripper.position.sum", "'sum' is a method: call it"),
        ("return world.gripper.position()", "read it without ()"),
        ("return world.values()", "the world has no attribute 'values'"),
        ("world.gripper.position = action", "attribute 'position' cannot be set"),
        ("world.gripper.position[:] = 1.0", "'world.gripper.position' cannot be written"),
        ("world.gripper.position[:] += 1.0", "cannot be written"),
        ("action.flags.writeable = True", "cannot be set"),
        ("x = world.cube.position[0]\nreturn x.base", "attribute 'base' is not allowed"),
        ("n = np\nreturn n.load('x')", "the module 'np' is not a value"),
        ("la = np.linalg\nreturn la", "the module 'numpy.linalg' is not a value"),
        ("return sorted(['x'], key=np.load)", "'numpy.load' is not allowed"),
        ("return np.random.rand()", "no random numbers"),
        ("return np.linalg.nrm(action)", "Did you mean 'norm'?"),
        ("np = 3\nreturn np", "the name 'np' is taken"),
        ("float = eval\nreturn float('1')", "the builtin 'eval' is not allowed"),
        ("float = 1\nreturn float('1')", "the name 'float' is taken"),
        ("return [open for open in (1,)][0]", "name of a builtin"),
        ("return getattr(world, 'time')", "the builtin 'getattr' is not allowed"),
        ("return nothing(1)", "the function 'nothing' is not defined"),
        ("f = np.sum\nreturn f(action)", "'f' is a variable, not a function"),
        ("return (np.sum)(action)[0]()", "only functions and methods that are named"),
        ("return ().__class__", "private"),
        ("return __builtins__", "'__builtins__' is not allowed"),
        ("return reward(world, action)", "recursion"),
        ("return 9 ** 9 ** 9", "power inside an exponent"),
        ("return 10 ** 1000", "too large"),
        ("return 10000000000", "integer literal"),
        ("for i in range(1000000):\n    pass", "too long"),
        ("return np.sum(*action)", "'*' unpacking"),
        ("return np.sum(**{})", "'**' in a call"),
        ("print(action)", "return what you want to see"),
        ("while True:\n    pass", "'while' is not allowed"),
        ("f = lambda x: x", "'lambda' is not allowed"),
        ("return f'{action}'", "f-strings"),
        ("def inner():\n    pass", "inside a function"),
        ("return 1j", "complex literal"),
    ],
)
def test_faults_are_named_with_line_and_remedy(body, text):
    result = check(body)
    assert not result.ok
    assert any(text in problem.message for problem in result.problems), str(result)
    assert result.line is not None
    assert result.line >= 3
    with pytest.raises(RewardCodeError, match=r"^line "):
        result.raise_if_rejected()


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", "no function 'reward(world, action)'"),
        ("def rewards(world, action):\n    return 0.0", "The program defines: rewards"),
        ("import os\ndef reward(w, a): return 0", "import of 'os'"),
        ("from numpy import *\ndef reward(w, a): return 0", "import of 'numpy.*'"),
        ("from . import x\ndef reward(w, a): return 0", "import from '.'"),
        ("import numpy.f2py\ndef reward(w, a): return 0", "import of 'numpy.f2py'"),
        ("x = [open]\ndef reward(w, a): return 0", "builtin 'open'"),
        ("def reward(w, a=[]): return 0", "default must be"),
        ("def reward(w, *a): return 0", "parameters are not allowed"),
        ("@staticmethod\ndef reward(w, a): return 0", "decorators"),
        ("class R:\n    pass\ndef reward(w, a): return 0", "'class' is not allowed"),
        ("if True:\n    x = 1\ndef reward(w, a): return 0", "at module level only"),
        ("def np(w): return 0\ndef reward(w, a): return 0", "the name is taken"),
        ("def reward(w: print(1), a): return 0", "annotation"),
        ("def reward(w, a) -> __import__: return 0", "annotation"),
        ("```python\ndef reward(w, a): return 0\n```", "without Markdown fences"),
        ("def reward(w, a):\n    return (", "never closed"),
        ("def reward(w, a):\n    return 0 # \0", "NUL"),
        (b"def reward(w, a):\n    return 0 # \xff", "not valid UTF-8"),
        ("def reward(w, a):\n    return '\udc80'", "not valid Unicode"),
        ("#" * 40_000, "bytes; the limit is"),
        ("x = " + "-" * 20_000 + "1", "nested too deeply"),
        ("x = a" + ".b" * 9_000, "nested"),
        ("x = " + "(" * 150 + "1" + ")" * 150, "no function"),
        ("x = " + "[" * 80 + "1" + "]" * 80 + "\ndef reward(w, a): return 0", "nested deeper than 60"),
        ("x = (" + "1," * 5000 + ")", "syntax elements"),
    ],
)
def test_whole_programs_are_rejected_plainly(source, text):
    result = check_source(source, SCHEMA)
    assert not result.ok
    assert any(text in problem.message for problem in result.problems), str(result)
    assert all(c.isprintable() or c == "\n" for c in str(result))


@pytest.mark.parametrize(
    "lines",
    [
        "MEM = [0.0]\n@ MEM[0] = 1.0",
        "MEM = [0.0]\n@ m = MEM\n@ m[0] = 1.0",
        "MEM = [0.0]\n@ MEM.append(1.0)",
        "MEM = {'a': [0.0]}\n@ m = MEM['a']\n@ m[0] = 1.0",
        "MEM = {'a': [0.0]}\n@ for m in MEM.values():\n@     m.append(1.0)",
        "import numpy as np\nMEM = np.zeros(1)\n@ m = MEM[:1]\n@ m[0] = 1.0",
        "import numpy as np\nMEM = np.zeros(1)\n@ np.add(1.0, 1.0, out=MEM)",
        "import numpy as np\nMEM = np.zeros(1)\n@ m = MEM.reshape(1, 1)\n@ m[0] = 1.0",
        "MEM = [0.0]\ndef put(where):\n    where[0] = 1.0\n@ put(MEM)",
        "MEM = [0.0]\n@ a, b = MEM, 1\n@ a[0] = 1.0",
    ],
)
def test_nothing_is_kept_between_calls(lines):
    head, _, body = lines.partition("@")
    source = head + "def reward(world, action):\n   " + body.replace("@", "   ") + "\n    return {'a': world.time}\n"
    result = check_source(source, SCHEMA)
    assert not result.ok, source
    assert any("keeps no memory" in p.message for p in result.problems), str(result)


def test_all_names_of_the_lists_exist():
    assert [n for n in allow_list.NUMPY if not hasattr(np, n)] == []
    assert [n for n in allow_list.NUMPY_LINALG if not hasattr(np.linalg, n)] == []
    arrays = allow_list.ARRAY_METHODS | allow_list.ARRAY_DATA
    assert [n for n in arrays if not hasattr(np.ndarray, n)] == []
    assert not arrays & {"base", "ctypes", "data", "dump", "dumps", "flags", "setflags", "tofile", "view"}


# Written down once more: what reads or writes files, unpickles, calls back, or changes memory or settings that
# outlive the call. The lists are checked against these, so that a slip in a list shows.
DANGEROUS_NUMPY = """
    DataSource apply_along_axis apply_over_axes char copyto core ctypeslib errstate f2py fill_diagonal from_dlpack
    frombuffer fromfile fromfunction frompyfunc fromregex fromstring genfromtxt lib load loadtxt memmap ndarray nditer
    piecewise place polynomial put put_along_axis putmask random rec save savetxt savez savez_compressed
    set_printoptions setbufsize seterr seterrcall show_config testing vectorize
""".split()
DANGEROUS_METHODS = """
    base byteswap ctypes data dump dumps encode fill flags format format_map getfield partition put resize setfield
    setflags sort strides tobytes tofile translate view
""".split()
DANGEROUS_BUILTINS = """
    bytearray breakpoint bytes callable classmethod compile delattr dir eval exec exit filter format getattr globals
    hasattr help id input iter locals map memoryview next object open print property quit repr setattr staticmethod
    super type vars
""".split()


def test_no_list_has_what_reaches_out_of_the_call():
    assert not allow_list.NUMPY & set(DANGEROUS_NUMPY)
    methods = allow_list.ARRAY_METHODS | allow_list.ARRAY_DATA | allow_list.READERS | allow_list.MUTATORS
    assert not methods & set(DANGEROUS_METHODS)
    assert not allow_list.BUILTINS & set(DANGEROUS_BUILTINS)
    assert set(allow_list.MODULES) == {"numpy", "numpy.linalg", "math"}


@pytest.mark.parametrize("value", ["'{0}'", "[1.0]", "{'a': 1.0}", "(1.0, 2.0)", "world.gripper.position", "action"])
def test_no_value_offers_what_reaches_out_of_the_call(value):
    for name in DANGEROUS_METHODS:
        assert not check(f"x = {value}\nreturn x.{name}").ok, name
        assert not check(f"x = {value}\nreturn x.{name}(world)").ok, name
    for name in DANGEROUS_NUMPY:
        assert not check(f"return np.{name}({value})").ok, name
    for name in DANGEROUS_BUILTINS:
        assert not check(f"return {name}({value})").ok, name


def test_several_problems_are_told_at_once_in_order():
    result = check("a = world.x\nb = world.y\nreturn eval('1')")
    assert [p.line for p in result.problems] == [4, 5, 6]
    with pytest.raises(RewardCodeError, match=r"\(and 2 more\)"):
        result.raise_if_rejected()


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
def test_arbitrary_text_and_bytes_never_raise(source):
    result = check_source(source, SCHEMA)
    assert result.ok == (not result.problems)
    assert result.ok == (result.message == "")


_WORDS = """
world action np math self def reward return for in if else lambda x y . , ( ) [ ] { } : = += ** + - 0 1 2.5
'a' __class__ previous time gripper position import from class while @ * linalg norm WEIGHTS
"""
_PIECES = st.sampled_from([*_WORDS.split(), "\n", "\n    ", "(world, action):\n    "])


@settings(max_examples=200, deadline=None)
@given(st.lists(_PIECES, max_size=40))
def test_program_like_text_never_raises(pieces):
    check_source("def reward(world, action):\n    " + " ".join(pieces), SCHEMA)


@settings(max_examples=60, deadline=None)
@given(st.from_regex(r"_{1,2}[a-z]{1,8}(__)?", fullmatch=True))
def test_no_private_attribute_is_ever_accepted(name):
    for root in ("world", "action", "np", "math", "(1)", "'a'", "world.gripper", "world.gripper.position"):
        assert not check(f"return {root}.{name}").ok


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([n for n in dir(np) if n not in allow_list.NUMPY]))
def test_no_other_numpy_name_is_ever_accepted(name):
    assert not check(f"return np.{name}").ok


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([n for n in dir(np.ndarray) if n not in allow_list.ARRAY_METHODS | allow_list.ARRAY_DATA]))
def test_no_other_array_attribute_is_ever_accepted(name):
    known = allow_list.READERS | allow_list.MUTATORS
    assert not check(f"return world.gripper.position.{name}").ok
    if name not in known:
        assert not check(f"x = world.gripper.position * 2\nreturn x.{name}()").ok
