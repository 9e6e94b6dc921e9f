"""Serves one guarded page on loopback from a thread of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embodied.core.assets import data_file
from embodied.core.errors import ConfigError
from embodied.web.guard import Guard

STARTUP_S = 20.0


@dataclass
class Served:
    """A page that is being served.

    Attributes:
        url: the address with the token, for the person who started it.
        port: its port.
    """

    url: str
    port: int
    _server: Any
    _thread: threading.Thread

    def close(self) -> None:
        """Ends it."""
        self._server.should_exit = True
        self._thread.join(timeout=10.0)


def serve(routes: Sequence[Any], *, port: int = 0) -> Served:
    """Serves Starlette routes behind a `Guard`.

    Args:
        routes: Starlette routes.
        port: the port; 0 takes a free one.

    Raises:
        ConfigError: the port is taken or not a port.
    """
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Route

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(f"port={port} cannot be listened on ({error}); port=0 takes a free one") from None
    port = listener.getsockname()[1]
    guard = Guard(Starlette(routes=[*routes, Route("/favicon.ico", _no_icon)]), port)
    settings = uvicorn.Config(
        guard,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        ws_max_size=1 << 16,
        ws_max_queue=8,
        limit_concurrency=64,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=2,
        lifespan="off",
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, args=([listener],), name="web", daemon=True)
    thread.start()
    end = time.monotonic() + STARTUP_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > end:
            raise ConfigError(f"the page could not be served on port {port}")
        time.sleep(0.01)
    return Served(f"http://127.0.0.1:{port}/?token={guard.token}", port, server, thread)


async def _no_icon(request: Any) -> Any:
    from starlette.responses import Response

    return Response(status_code=204)


def static_page(name: str, nonce: str) -> str:
    """A page of `static/` with its script and style inlined under the nonce of its answer."""
    html = _static(f"{name}.html")
    for tag, suffix in (("style", "css"), ("script", "js")):
        html = html.replace(f"<!-- {tag} -->", f'<{tag} nonce="{nonce}">\n{_static(f"{name}.{suffix}")}</{tag}>')
    return html


def _static(name: str) -> str:
    return data_file("web", "static", name).read_text(encoding="utf-8")
