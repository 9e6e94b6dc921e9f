"""The page of a talk: live camera, description, terms, planner's rate, history with undo, and a button that keeps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from embodied.core.errors import ConfigError
from embodied.sessions.talk.camera import LiveCamera
from embodied.sessions.talk.live_talk import LiveTalk
from embodied.web.media import Media
from embodied.web.server import Served, serve, static_page

VIEW_HZ, MAX_CLIENTS, MAX_ID = 8.0, 8, 64
_ACTIONS = ("say", "undo", "save")


class TalkPage:
    """The routes of the page.

    Args:
        talk: the talk; its main loop runs in the main thread.
        camera: what it looks through.
    """

    def __init__(self, talk: LiveTalk, camera: LiveCamera) -> None:
        self.talk, self.camera = talk, camera
        self.media = Media(talk.session.folder.path)
        self._clients = 0

    def routes(self) -> list[Any]:
        """Page, requests, what was kept, and the stream."""
        return [
            Route("/", self._page),
            Route("/requests", self._request, methods=["POST"]),
            Route("/media/{key}", self._file),
            WebSocketRoute("/stream", self._stream),
        ]

    async def _page(self, request: Request) -> Response:
        return HTMLResponse(static_page("talk", request.scope["state"]["nonce"]))

    async def _request(self, request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
        except ValueError:
            asked = None
        fault = _fault(asked)
        if fault:
            return JSONResponse({"error": fault}, status_code=400)
        try:
            # In a thread: an undo may wait for the ledger, which must not hold up the stream.
            key = await asyncio.to_thread(self.talk.post, asked["kind"], asked.get("text", ""), asked["id"])
        except ConfigError as error:
            return JSONResponse({"error": str(error)}, status_code=409)
        return JSONResponse({"id": key})

    async def _file(self, request: Request) -> Response:
        found = self.media.open(request.path_params["key"])
        if found is None:
            return JSONResponse({"error": "nothing was kept under this name"}, status_code=404)
        return FileResponse(found[0], media_type=found[1])

    async def _stream(self, socket: WebSocket) -> None:
        if self._clients >= MAX_CLIENTS:
            await socket.close(code=1013, reason=f"{MAX_CLIENTS} pages look on already")
            return
        await socket.accept()
        self._clients += 1
        watcher = asyncio.create_task(_until_closed(socket))
        try:
            await self._send_on(socket, watcher)
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            self._clients -= 1
            watcher.cancel()

    async def _send_on(self, socket: WebSocket, watcher: asyncio.Task) -> None:
        """Always the newest picture and view: a slow reader misses some and nothing piles up."""
        shown, next_view, loop = 0, 0.0, asyncio.get_running_loop()
        while not watcher.done():
            number, picture = self.camera.newest()
            if number != shown:
                shown = number
                await socket.send_bytes(picture)
            if loop.time() >= next_view:
                next_view = loop.time() + 1.0 / VIEW_HZ
                await socket.send_text(json.dumps(self._view(), allow_nan=False))
            await asyncio.sleep(0.02)

    def _view(self) -> dict[str, Any]:
        view = self.talk.view()
        kept = [
            {kind: self.media.id_of(_file_in(name, kind)) for kind, name in row["files"].items()}
            for row in view["saved"]
        ]
        return {**view, "saved": kept, "no_camera": self.camera.error}


def _file_in(name: str, kind: str) -> Any:
    """An episode is a folder: its arrays stand for it."""
    return PurePosixPath(name) / "episode.npz" if kind == "episode" else PurePosixPath(name)


def _fault(asked: Any) -> str:
    if not isinstance(asked, Mapping) or asked.get("kind") not in _ACTIONS:
        return f"a request is an object with kind {', '.join(_ACTIONS)}"
    if not isinstance(asked.get("id"), str) or not 8 <= len(asked["id"]) <= MAX_ID:
        return f"a request has an id of 8 to {MAX_ID} characters"
    if not isinstance(asked.get("text", ""), str):
        return "text must be a string"
    return ""


async def _until_closed(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


class TalkFace:
    """Page and camera together."""

    def __init__(self, served: Served, camera: LiveCamera) -> None:
        self.url, self._served, self._camera = served.url, served, camera

    def close(self) -> None:
        """Ends both."""
        self._served.close()
        self._camera.close()


def serve_talk(talk: LiveTalk, *, port: int, camera: Mapping[str, Any]) -> TalkFace:
    """Serves the page of a talk.

    Args:
        talk: the talk.
        port: 0 takes a free one.
        camera: `name`, `width`, `height`, `fps`.

    Raises:
        ConfigError: the port cannot be listened on.
    """
    eye = LiveCamera(
        talk.session.stage,
        fps=float(camera["fps"]),
        camera=camera["name"],
        width=int(camera["width"]),
        height=int(camera["height"]),
    )
    served = serve(TalkPage(talk, eye).routes(), port=port)
    return TalkFace(served, eye.start())
