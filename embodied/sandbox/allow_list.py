"""The names that reward programs may use, apart from what the schema of their task declares."""

# ruff: noqa: SIM905 - long lists of names read better as text
from __future__ import annotations

import ast

MAX_SOURCE_BYTES = 32 * 1024
MAX_NODES = 4000
MAX_DEPTH = 60
MAX_INT = 10**9
MAX_RANGE = 10_000
MAX_POWER_BITS = 1024

NUMPY = frozenset(
    """
    abs absolute add all allclose amax amin any append arange arccos arccosh arcsin arcsinh arctan
    arctan2 arctanh argmax argmin argsort around array array_equal asarray atleast_1d atleast_2d average
    bool_ broadcast_arrays broadcast_to cbrt ceil clip column_stack concatenate copy copysign cos cosh
    count_nonzero cross cumprod cumsum deg2rad degrees diag diagonal diff divide dot e einsum empty
    empty_like equal exp exp2 expand_dims expm1 eye fabs flip float32 float64 floor floor_divide fmax
    fmin fmod full full_like greater greater_equal heaviside hstack hypot identity inf inner int32 int64
    interp invert isclose isfinite isinf isnan kron less less_equal linalg linspace log log10 log1p log2
    logaddexp logical_and logical_not logical_or logical_xor matmul max maximum mean median min minimum
    mod moveaxis multiply nan nan_to_num nanmax nanmean nanmin nansum negative newaxis nonzero not_equal
    ones ones_like outer percentile pi power prod ptp quantile rad2deg radians reciprocal remainder
    repeat reshape roll round searchsorted select sign signbit sin sinc sinh sort sqrt square squeeze
    stack std subtract sum swapaxes take take_along_axis tan tanh tensordot tile trace transpose
    trapezoid tril triu true_divide unique unwrap var vdot vstack where zeros zeros_like
    """.split()
)
NUMPY_LINALG = frozenset("norm inv det solve cross matmul pinv eigvalsh vecdot vector_norm".split())
NUMPY_TYPES = frozenset("ndarray number floating integer float64 float32 bool_ int64 int32 typing".split())
MATH = frozenset(
    """
    acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh degrees dist e exp exp2 expm1
    fabs floor fmod fsum hypot inf isclose isfinite isinf isnan log log10 log1p log2 nan pi pow prod
    radians remainder sin sinh sqrt tan tanh tau trunc
    """.split()
)
BUILTINS = frozenset(
    """
    abs all any bool dict divmod enumerate float frozenset int isinstance len list max min pow range
    reversed round set sorted str sum tuple zip
    """.split()
)
ARRAY_DATA = frozenset("T dtype imag ndim real shape size".split())
ARRAY_METHODS = frozenset(
    """
    all any argmax argmin argsort astype clip copy cumprod cumsum diagonal dot flatten item max mean min
    nonzero prod ravel repeat reshape round squeeze std sum swapaxes take tolist trace transpose var
    """.split()
)
READERS = frozenset("copy count get index items keys values".split())
MUTATORS = frozenset("append extend insert pop setdefault update".split())
TYPING = frozenset("Any Callable Dict Final List Mapping Optional Sequence Set Tuple Union NDArray ArrayLike".split())
TYPE_MODULES = {"typing", "collections.abc", "numpy.typing", "__future__"}
MODULES = {"numpy": NUMPY, "numpy.linalg": NUMPY_LINALG, "math": MATH}

NODES: tuple[type[ast.AST], ...] = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AugAssign, ast.AnnAssign,
    ast.For, ast.If, ast.Expr, ast.Pass, ast.Break, ast.Continue, ast.Import, ast.ImportFrom, ast.alias,
    ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Dict, ast.Set, ast.ListComp, ast.SetComp, ast.DictComp,
    ast.GeneratorExp, ast.comprehension, ast.Compare, ast.Call, ast.keyword, ast.Constant, ast.Attribute,
    ast.Subscript, ast.Name, ast.List, ast.Tuple, ast.Slice,
    ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip

REMEDIES: dict[type[ast.AST], str] = {
    ast.While: "'while' is not allowed; use 'for i in range(n)' with a small constant n, or array operations",
    ast.Try: "'try' is not allowed; avoid the error with np.where, np.maximum or np.clip",
    ast.TryStar: "'try' is not allowed; avoid the error with np.where, np.maximum or np.clip",
    ast.With: "'with' is not allowed in reward code",
    ast.AsyncWith: "'async' is not allowed in reward code",
    ast.AsyncFor: "'async' is not allowed in reward code",
    ast.AsyncFunctionDef: "'async' is not allowed in reward code",
    ast.Await: "'await' is not allowed in reward code",
    ast.ClassDef: "'class' is not allowed; write functions, and read the world through its attributes",
    ast.Lambda: "'lambda' is not allowed; write the expression in place or a function at module level",
    ast.JoinedStr: "f-strings are not allowed; use plain string constants",
    ast.Raise: "'raise' is not allowed; return a penalty term instead",
    ast.Assert: "'assert' is not allowed; return a penalty term instead",
    ast.Global: "'global' is not allowed; a reward keeps no memory between calls (use world.previous)",
    ast.Nonlocal: "'nonlocal' is not allowed; a reward keeps no memory between calls (use world.previous)",
    ast.NamedExpr: "':=' is not allowed; assign in a statement of its own",
    ast.Match: "'match' is not allowed; use if and elif",
    ast.Starred: "'*' unpacking is not allowed; name the values one by one",
    ast.Yield: "'yield' is not allowed; return the terms",
    ast.YieldFrom: "'yield' is not allowed; return the terms",
    ast.Delete: "'del' is not allowed in reward code",
}
