"""Universal Robots' RTDE (real-time data exchange, protocol 2) as a controller speaks it, for one client.

Message: size (uint16, of all of it), type (uint8), payload, big-endian. A client names the values that it wants to get
(one recipe) and those that it wants to set (numbered recipes); each input belongs to one client only.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

PROTOCOL, VERSION, TEXT, DATA = ord("V"), ord("v"), ord("M"), ord("U")
OUTPUTS, INPUTS, START, PAUSE = ord("O"), ord("I"), ord("S"), ord("P")
MOST_HZ = 500.0
_FORMATS = {"DOUBLE": "d", "INT32": "i", "UINT32": "I", "VECTOR6D": "6d"}
_OUTPUT_TYPES = {
    "timestamp": "DOUBLE", "robot_mode": "INT32", "safety_mode": "INT32", "runtime_state": "UINT32",
    "robot_status_bits": "UINT32", "safety_status_bits": "UINT32",
    "actual_q": "VECTOR6D", "actual_qd": "VECTOR6D", "target_q": "VECTOR6D", "joint_temperatures": "VECTOR6D",
}  # fmt: skip
_REGISTER = re.compile(r"(?:input|output)_(int|double)_register_\d+")


def message(kind: int, payload: bytes) -> bytes:
    """A whole message."""
    return struct.pack(">HB", 3 + len(payload), kind) + payload


def _type(name: str, known: Mapping[str, str]) -> str:
    register = _REGISTER.fullmatch(name)
    if register:
        return "INT32" if register[1] == "int" else "DOUBLE"
    return known.get(name, "NOT_FOUND")


class RtdeSession:
    """One client.

    Args:
        version: of the controller: major, minor, bugfix, build.
        on_inputs: told the values that the client sets, by name, as often as it does.
        owners: which session has which input; changed here.
    """

    def __init__(
        self,
        version: tuple[int, int, int, int],
        on_inputs: Callable[[dict[str, Any]], None],
        owners: dict[str, RtdeSession],
    ) -> None:
        self._version, self._on_inputs, self._owners = version, on_inputs, owners
        self._buffer = bytearray()
        self._wanted: list[tuple[str, str]] = []
        self._recipes: list[list[tuple[str, str]]] = []
        self._period_s, self._due_s = 1.0 / MOST_HZ, 0.0
        self.started = False

    def receive(self, data: bytes) -> list[bytes]:
        """Takes what came; gives the answers."""
        self._buffer += data
        answers = []
        while len(self._buffer) >= 3:
            size, kind = struct.unpack(">HB", self._buffer[:3])
            if size < 3 or len(self._buffer) < size:
                break
            payload = bytes(self._buffer[3:size])
            del self._buffer[:size]
            answer = self._answer(kind, payload)
            if answer is not None:
                answers.append(message(kind, answer))
        return answers

    def due(self, now_s: float, tell: Callable[[], Mapping[str, Any]]) -> list[bytes]:
        """The data package where one is due; what was missed is not made up for.

        Args:
            now_s: monotonic [s].
            tell: gives the controller's values by name; registers that nobody wrote are 0.
        """
        if not self.started or now_s < self._due_s:
            return []
        self._due_s = max(self._due_s + self._period_s, now_s - self._period_s)
        values, payload = tell(), bytearray(b"\x01")
        for name, kind in self._wanted:
            value = values.get(name, 0)
            payload += struct.pack(">" + _FORMATS[kind], *(value if kind == "VECTOR6D" else (value,)))
        return [message(DATA, bytes(payload))]

    def close(self) -> None:
        """The client has gone: its inputs are free, and keep their values."""
        for name in [name for name, owner in self._owners.items() if owner is self]:
            del self._owners[name]

    def _answer(self, kind: int, payload: bytes) -> bytes | None:
        if kind == PROTOCOL:
            return bytes([payload == b"\x00\x02"])
        if kind == VERSION:
            return struct.pack(">4I", *self._version)
        if kind == OUTPUTS:
            return self._set_outputs(payload)
        if kind == INPUTS:
            return self._set_inputs(payload)
        if kind in (START, PAUSE):
            self.started = kind == START
            return b"\x01"
        if kind == DATA and payload:
            self._set(payload[0], payload[1:])
        return None

    def _set_outputs(self, payload: bytes) -> bytes:
        hz = struct.unpack(">d", payload[:8])[0]
        self._period_s = 1.0 / min(max(hz, 1.0), MOST_HZ)
        names = [name for name in payload[8:].decode("ascii").split(",") if name]
        types = [_type(name, _OUTPUT_TYPES) for name in names]
        self._wanted = [(n, t) for n, t in zip(names, types, strict=True) if t != "NOT_FOUND"]
        return b"\x01" + ",".join(types).encode("ascii")

    def _set_inputs(self, payload: bytes) -> bytes:
        names = [name for name in payload.decode("ascii").split(",") if name]
        types = [_type(name, {"external_force_torque": "VECTOR6D"}) for name in names]
        for i, name in enumerate(names):
            if types[i] != "NOT_FOUND" and self._owners.setdefault(name, self) is not self:
                types[i] = "IN_USE"
        good = not {"NOT_FOUND", "IN_USE"} & set(types)
        self._recipes.append(list(zip(names, types, strict=True)) if good else [])
        return bytes([len(self._recipes) if good else 0]) + ",".join(types).encode("ascii")

    def _set(self, number: int, values: bytes) -> None:
        recipe = self._recipes[number - 1] if 0 < number <= len(self._recipes) else []
        layout = ">" + "".join(_FORMATS[kind] for _, kind in recipe)
        if recipe and struct.calcsize(layout) == len(values):
            left = iter(struct.unpack(layout, values))
            self._on_inputs({n: tuple(islice(left, 6)) if kind == "VECTOR6D" else next(left) for n, kind in recipe})
