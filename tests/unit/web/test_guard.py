"""What stands in front of every page, met over real sockets."""

from __future__ import annotations

import asyncio
import http.client
import os
from pathlib import Path

import pytest
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route, WebSocketRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus

from embodied.core.errors import ConfigError
from embodied.web.media import Media
from embodied.web.server import serve, static_page


async def page(request):
    return HTMLResponse(static_page("talk", request.scope["state"]["nonce"]))


async def echo(request):
    return JSONResponse({"n": len(await request.body())})


async def stream(socket):
    await socket.accept()
    await socket.send_text("hello")


@pytest.fixture(scope="module")
def served():
    served = serve([Route("/", page), Route("/echo", echo, methods=["POST"]), WebSocketRoute("/stream", stream)])
    yield served
    served.close()


def ask(served, method="GET", path="/", headers=(), body=None, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{served.port}")
    for key, value in headers:
        connection.putheader(key, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


@pytest.fixture(scope="module")
def cookie(served):
    status, headers, _ = ask(served, path=served.url.split(str(served.port))[1])
    assert status == 303
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=Strict" in headers["set-cookie"]
    return ("Cookie", headers["set-cookie"].split(";")[0])


def origin(served):
    return ("Origin", f"http://127.0.0.1:{served.port}")


def test_the_page_needs_the_token_and_then_the_cookie(served, cookie):
    assert ask(served)[0] == 401
    assert ask(served, path="/?token=wrong")[0] == 403
    assert ask(served, headers=[("Cookie", "embodied_1=x")])[0] == 401
    assert ask(served, headers=[cookie])[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "localhost.evil.example:{port}"])
def test_a_foreign_host_is_refused(served, cookie, host):
    assert ask(served, headers=[cookie], host=host.format(port=served.port))[0] == 421


@pytest.mark.parametrize("value", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"])
def test_a_foreign_origin_is_refused(served, cookie, value):
    foreign = ("Origin", value.format(port=served.port))
    assert ask(served, "POST", "/echo", [cookie, foreign], b"{}")[0] == 403
    assert ask(served, headers=[cookie, foreign])[0] == 403


def test_whatever_changes_something_needs_an_origin(served, cookie):
    assert ask(served, "POST", "/echo", [cookie], b"{}")[0] == 403
    assert ask(served, "POST", "/echo", [cookie, origin(served)], b"{}")[0] == 200


def test_large_bodies_are_refused_announced_or_not(served, cookie):
    assert ask(served, "POST", "/echo", [cookie, origin(served)], b"x" * ((1 << 20) + 1))[0] == 413
    assert ask(served, "POST", "/echo", [cookie, origin(served), ("Content-Length", "-1")])[0] in (400, 413)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.putrequest("POST", "/echo", skip_host=True)
    for key, value in [("Host", f"127.0.0.1:{served.port}"), cookie, origin(served), ("Transfer-Encoding", "chunked")]:
        connection.putheader(key, value)
    connection.endheaders()
    refused = False
    try:
        for _ in range(64):
            connection.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        connection.send(b"0\r\n\r\n")
        refused = connection.getresponse().status >= 400
    except (ConnectionError, http.client.HTTPException):
        refused = True
    assert refused


def test_every_answer_is_hardened_and_every_nonce_is_new(served, cookie):
    seen = set()
    for _ in range(3):
        _, headers, body = ask(served, headers=[cookie])
        policy = headers["content-security-policy"]
        nonce = policy.split("script-src 'nonce-")[1].split("'")[0]
        seen.add(nonce)
        assert f'<script nonce="{nonce}">'.encode() in body
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("headers", "good"),
    [
        ({}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "own"}, False),
        ({"Origin": "http://evil.example", "Cookie": "own"}, False),
        ({"Cookie": "own"}, False),
        ({"Origin": "own", "Cookie": "own"}, True),
    ],
)
def test_the_stream_opens_for_this_page_alone(served, cookie, headers, good):
    from websockets.asyncio.client import connect

    own = {"Origin": origin(served)[1], "Cookie": cookie[1]}
    wanted = {key: own[key] if value == "own" else value for key, value in headers.items()}

    async def meet():
        async with connect(f"ws://127.0.0.1:{served.port}/stream", additional_headers=wanted) as socket:
            return await socket.recv()

    if good:
        assert asyncio.run(meet()) == "hello"
    else:
        with pytest.raises((InvalidStatus, ConnectionClosed)):
            asyncio.run(meet())


def test_a_port_that_is_taken_is_named(served):
    with pytest.raises(ConfigError, match=f"port={served.port} cannot be listened on"):
        serve([], port=served.port)


def test_media_have_ids_and_never_lead_outside(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.mp4").write_bytes(b"film")
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    os.symlink(tmp_path / "secret.mp4", tmp_path / "run" / "link.mp4")
    os.symlink(tmp_path, tmp_path / "run" / "folder")
    media = Media(tmp_path / "run")
    key = media.id_of(Path("a.mp4"))
    assert media.open(key) == ((tmp_path / "run" / "a.mp4").resolve(), "video/mp4")
    assert media.id_of(Path("a.mp4")) == key
    for path in ("../secret.mp4", "link.mp4", "folder/secret.mp4", "missing.mp4", ".", "/etc/passwd"):
        assert media.open(media.id_of(Path(path))) is None
    for unknown in ("", "a.mp4", "../secret.mp4", key[:-1], "%2e%2e%2fsecret.mp4"):
        assert media.open(unknown) is None
