"""Messages between a policy's server and its clients: msgpack with plain arrays in it. Nothing is ever unpickled."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import numpy as np

from embodied.core.errors import PolicyServerError

PROTOCOL = "embodied.policy/1"
MAX_MESSAGE_BYTES = 32 * 2**20
_KEY, _DTYPES = "__array__", ("uint8", "bool", "int32", "int64", "float32", "float64")


def pack(message: dict[str, Any]) -> bytes:
    """Bytes of a message of plain values and arrays."""
    return msgpack.packb(message, default=_encode)


def unpack(data: bytes | str) -> dict[str, Any]:
    """A message of bytes.

    Raises:
        PolicyServerError: not one of ours.
    """
    if isinstance(data, str):
        raise PolicyServerError("a text message came; messages are binary msgpack")
    try:
        found = msgpack.unpackb(
            data,
            object_hook=_decode,
            strict_map_key=True,
            max_bin_len=MAX_MESSAGE_BYTES,
            max_str_len=2**16,
            max_array_len=2**16,
            max_map_len=2**10,
        )
    except PolicyServerError:
        raise
    except Exception as error:  # msgpack raises what it likes on hostile bytes
        raise PolicyServerError(f"a message cannot be read: {type(error).__name__}: {error}") from None
    if not isinstance(found, dict):
        raise PolicyServerError(f"a message must be a map, got {type(found).__name__}")
    return found


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if str(value.dtype) not in _DTYPES:
            raise PolicyServerError(f"arrays of {value.dtype} do not travel; these do: {', '.join(_DTYPES)}")
        return {_KEY: str(value.dtype), "shape": list(value.shape), "data": np.ascontiguousarray(value).tobytes()}
    if isinstance(value, np.generic):
        return value.item()
    raise PolicyServerError(f"values of {type(value).__name__} do not travel")


def _decode(value: dict[str, Any]) -> Any:
    if _KEY not in value:
        return value
    dtype, shape, data = value[_KEY], value.get("shape"), value.get("data")
    if dtype not in _DTYPES or not isinstance(shape, list) or not isinstance(data, bytes) or len(shape) > 8:
        raise PolicyServerError(f"an array of dtype {dtype!r} and shape {shape!r} is not one of ours")
    if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) * np.dtype(dtype).itemsize != len(data):
        raise PolicyServerError(f"an array says shape {shape} of {dtype} and brings {len(data)} bytes")
    return np.frombuffer(data, dtype=dtype).reshape(shape)
