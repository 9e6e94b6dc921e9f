"""A policy over a websocket: real sockets, hostile bytes, lost connections."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from embodied.core.errors import ConfigError, PolicyServerError
from embodied.deploy.policy_client import PolicyClient
from embodied.deploy.policy_server import PolicyServer
from embodied.deploy.wire import MAX_MESSAGE_BYTES, pack, unpack

OBSERVATION = {"observation.state": np.array([1.0, 2.0], np.float32)}


ABOUT = {"chunk_size": 3, "n_action_steps": 2, "action_size": 2, "fps": 20}


class Echo:
    """Gives the state plus the instruction's length, three times."""

    features = {"observation.state": (2,)}

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.said, self.words, self.gate = "", "", gate

    def reset(self, instruction):
        self.words = instruction

    def instruct(self, text):
        self.words = text

    def act(self, observation, prefix=None):
        if self.gate is not None:
            self.gate.wait(20)
        state = np.asarray(observation["observation.state"])
        if state.shape != (2,):
            raise ConfigError(f"state of {state.shape}")
        self.said = f"told {self.words}"
        chunk = np.tile(state + len(self.words), (3, 1))
        if prefix is not None:
            chunk[: len(prefix)] = prefix
        return chunk


@pytest.fixture
def server():
    made = PolicyServer(Echo, ABOUT, token="secret").start()
    yield made
    made.close()


def client(server, **settings) -> PolicyClient:
    return PolicyClient(f"ws://127.0.0.1:{server.port}", **{"token": "secret", "timeout_s": 20.0, **settings})


def test_a_policy_elsewhere_acts_as_one_here(server):
    with client(server) as far:
        near = Echo()
        assert far.features == near.features
        assert far.about["chunk_size"] == 3
        assert (far.n_action_steps, far.action_size, far.fps) == (2, 2, 20)
        for policy in (far, near):
            policy.reset("go")
        assert np.array_equal(far.act(OBSERVATION), near.act(OBSERVATION))
        far.instruct("go on")
        near.instruct("go on")
        prefix = np.array([[7.0, 8.0]], np.float32)
        assert np.array_equal(far.act(OBSERVATION, prefix), near.act(OBSERVATION, prefix))
        assert far.said == near.said == "told go on"
        assert 0.0 <= far.timing["infer_ms"] <= far.timing["total_ms"] <= far.timing["round_trip_ms"]


def test_each_connection_has_its_own_instruction(server):
    with client(server) as one, client(server) as two:
        one.reset("a")
        two.reset("abc")
        assert one.act(OBSERVATION)[0].tolist() == [2, 3]
        assert two.act(OBSERVATION)[0].tolist() == [4, 5]


@pytest.mark.parametrize("token", [None, "wrong", "secret2", ""])
def test_a_wrong_token_is_refused(server, token):
    with pytest.raises(PolicyServerError, match="token is missing or wrong"):
        client(server, token=token)


def test_a_browsers_page_is_refused(server):
    with pytest.raises(InvalidStatus) as caught:
        connect(
            f"ws://127.0.0.1:{server.port}",
            origin="http://evil.example",
            additional_headers={"Authorization": "Bearer secret"},
        )
    assert caught.value.response.status_code == 403


def test_faults_come_back_as_text_and_the_connection_goes_on(server):
    with client(server) as far:
        with pytest.raises(PolicyServerError, match=r"state of \(3,\)"):
            far.act({"observation.state": np.zeros(3, np.float32)})
        with pytest.raises(PolicyServerError, match=r"KeyError|observation"):
            far.act({})
        with pytest.raises(PolicyServerError, match="at most 2000 characters"):
            far.instruct("x" * 2001)
        with pytest.raises(PolicyServerError, match="unknown kind 'dance'"):
            far._ask({"kind": "dance"})
        far.reset("go")
        assert far.act(OBSERVATION).shape == (3, 2)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        pickle.dumps({"kind": "reset"}),
        b"\xdf\xff\xff\xff\xff",  # a map of four billion entries
        pack({"kind": "act"})[:-1],
        pack({"a": {"x": 1}}).replace(b"x", b"\xff"),
    ],
)
def test_bytes_that_are_no_message_end_one_connection_alone(server, data):
    with (
        client(server) as other,
        connect(f"ws://127.0.0.1:{server.port}", additional_headers={"Authorization": "Bearer secret"}) as raw,
    ):
        raw.recv(timeout=20)
        raw.send(data)
        with pytest.raises(ConnectionClosed):
            raw.recv(timeout=20)
        other.reset("go")
        assert other.act(OBSERVATION).shape == (3, 2)


def _exchange(raw, data: bytes) -> bytes:
    raw.send(data)
    return raw.recv(timeout=20)


def test_too_long_a_message_ends_the_connection(server):
    with connect(f"ws://127.0.0.1:{server.port}", additional_headers={"Authorization": "Bearer secret"}) as raw:
        raw.recv(timeout=20)
        with pytest.raises(ConnectionClosed):
            _exchange(raw, b"\x00" * (MAX_MESSAGE_BYTES + 1))


def test_a_late_answer_is_not_taken_for_the_next(monkeypatch):
    gate = threading.Event()
    server = PolicyServer(lambda: Echo(gate), ABOUT).start()
    try:
        with client(server, timeout_s=0.3) as far:
            with pytest.raises(PolicyServerError, match=r"did not answer within 0\.3 s"):
                far.act(OBSERVATION)
            gate.set()
            far.timeout_s = 20.0
            second = far.act({"observation.state": np.array([5.0, 5.0], np.float32)})
            assert second[0].tolist() == [5, 5]
    finally:
        gate.set()
        server.close()


def test_a_server_that_goes_is_noticed(server):
    far = client(server)
    server.close()
    with pytest.raises(PolicyServerError, match=r"lost|no policy server"):
        far.act(OBSERVATION)
    with pytest.raises(PolicyServerError, match="no policy server"):
        client(server, timeout_s=2.0)


def test_another_protocol_is_refused():
    server = PolicyServer(Echo, {"protocol": "somebody/9"}).start()
    try:
        with pytest.raises(PolicyServerError, match="speaks 'somebody/9'"):
            client(server)
    finally:
        server.close()


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int64, np.float32, np.float64, bool]), hnp.array_shapes(min_dims=0, max_side=4)
    )
)
@settings(deadline=None)
def test_arrays_travel_exactly(array):
    there = unpack(pack({"x": array}))["x"]
    assert there.dtype == array.dtype
    assert there.shape == array.shape
    assert there.tobytes() == array.tobytes()


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_give_a_message_or_our_error(data):
    with contextlib.suppress(PolicyServerError):
        assert isinstance(unpack(data), dict)


@pytest.mark.parametrize(
    "array",
    [
        {"__array__": "object", "shape": [1], "data": b"12345678"},
        {"__array__": "float32", "shape": [2**40], "data": b""},
        {"__array__": "float32", "shape": [-1], "data": b""},
        {"__array__": "float32", "shape": [True], "data": b"1234"},
        {"__array__": "float32", "shape": [1] * 9, "data": b"1234"},
        {"__array__": "float32", "shape": [2], "data": b"1234"},
        {"__array__": "float32"},
    ],
)
def test_arrays_that_lie_are_refused(array):
    import msgpack

    with pytest.raises(PolicyServerError):
        unpack(msgpack.packb({"x": array}))


def test_the_client_needs_neither_torch_nor_mujoco():
    heavy = "{'torch', 'mujoco', 'transformers'}"
    code = f"import sys; import embodied.deploy.policy_client; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
