"""Watch: sources, their pictures and regions, events with their evidence, and the WebSocket of all of it."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse

from maclip_runtime.errors import MaclipError
from maclip_runtime.serve.api.bodies import MAX_SOURCE_LENGTH, Page, Region
from maclip_runtime.serve.api.faults import FAULTS
from maclip_runtime.serve.studio import Studio
from maclip_runtime.serve.windows import OPEN
from maclip_runtime.sources import Roi

TICK_SECONDS = 0.06  # between two looks for new pictures
STATE_SECONDS = 0.2  # between two states
MAX_MESSAGE = 4096  # characters of what a browser says
MAX_EVENTS_A_TICK = 100

SourceQuery = Annotated[str, Query(min_length=1, max_length=MAX_SOURCE_LENGTH)]
EventId = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]


def watching(studio: Studio) -> APIRouter:
    """The endpoints."""
    router = APIRouter(prefix="/api", tags=["watch"], responses=FAULTS)

    @router.get("/state")
    def state() -> dict[str, Any]:
        """Sources with their answers, the gallery's size, what waits for review, and what can be undone."""
        return snapshot(studio)

    @router.get("/source/picture", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
    def picture(source: SourceQuery) -> Response:
        """The newest picture of a source, a JPEG."""
        found = studio.film.newest(studio.require(source))
        if found is None:
            raise MaclipError("source-lost", f"{source} has sent no picture yet.", "Check the camera.")
        return Response(found.jpeg, media_type="image/jpeg")

    @router.put("/source/region")
    def region(source: SourceQuery, body: Region | None = None) -> dict[str, Any]:
        """Look at this part of a source's picture from now on; null: at all of it."""
        roi = None if body is None else Roi(body.x, body.y, body.width, body.height)
        studio.set_region(source, roi)
        return {"region": region_facts(roi)}

    @router.get("/events")
    def events(
        source: Annotated[str | None, Query(max_length=MAX_SOURCE_LENGTH)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> Page:
        """The last events, one record for each id, the newest first."""
        found = studio.board.history(source=source, limit=limit)
        return Page(total=len(found), items=found)

    @router.get("/events/{event_id}/strip.jpg", response_class=FileResponse)
    def strip(event_id: EventId) -> FileResponse:
        """The strip of an event's evidence."""
        return evidence(event_id, ".jpg", "image/jpeg")

    @router.get("/events/{event_id}/clip.mp4", response_class=FileResponse)
    def clip(event_id: EventId) -> FileResponse:
        """The video of an event's evidence."""
        return evidence(event_id, ".mp4", "video/mp4")

    def evidence(event_id: str, suffix: str, kind: str) -> FileResponse:
        found = None if studio.evidence is None else studio.evidence.folder.find(event_id + suffix)
        if found is None:
            raise MaclipError("evidence-missing", "There is no evidence of this event.", "Start with --evidence DIR.")
        return FileResponse(found, media_type=kind)

    @router.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        with suppress(WebSocketDisconnect, RuntimeError):
            await _Client(socket, studio).run()

    return router


class _Client:
    """One browser. It gets a picture only after it has drawn the last one, so a slow one slows nobody.

    It says `{"show": [sources]}` and `{"drawn": source}`. It gets JSON texts of the types "state" and "event", and
    pictures as bytes: the length of the source's name in one byte, the name in UTF-8, a JPEG.
    """

    def __init__(self, socket: WebSocket, studio: Studio) -> None:
        self._socket = socket
        self._studio = studio
        self._shown: dict[str, int] = {}  # the number of the last picture of each source that is shown
        self._busy: set[str] = set()

    async def run(self) -> None:
        sender = asyncio.create_task(self._send())
        try:
            while True:
                text = await self._socket.receive_text()
                if len(text) > MAX_MESSAGE:
                    return
                self._take(text)
        finally:
            sender.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError, OSError):
                await sender

    def _take(self, text: str) -> None:
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(said, dict):
            return
        if isinstance(said.get("show"), list):
            names = [name for name in said["show"] if name in self._studio.names]
            self._shown = {name: self._shown.get(name, 0) for name in names}
            self._busy &= set(names)
        drawn = said.get("drawn")
        if isinstance(drawn, str):
            self._busy.discard(drawn)

    async def _send(self) -> None:
        events, _ = self._studio.board.events_after(1 << 62)
        last, told_at = "", 0.0
        while True:
            events, new = self._studio.board.events_after(events)
            for record in new[-MAX_EVENTS_A_TICK:]:
                await self._say("event", event=record)
            if time.monotonic() - told_at >= STATE_SECONDS:
                told_at = time.monotonic()
                state = await asyncio.to_thread(snapshot, self._studio)
                text = json.dumps(state, sort_keys=True)
                if text != last:
                    last = text
                    await self._say("state", state=state)
            for name, number in list(self._shown.items()):
                await self._picture(name, number)
            await asyncio.sleep(TICK_SECONDS)

    async def _picture(self, name: str, number: int) -> None:
        found = None if name in self._busy else self._studio.film.newest(name)
        if found is None or found.number == number or name not in self._shown:
            return
        self._shown[name] = found.number
        self._busy.add(name)
        label = name.encode("utf-8", "replace")[:255]
        await self._socket.send_bytes(bytes([len(label)]) + label + found.jpeg)

    async def _say(self, kind: str, **facts: Any) -> None:
        await self._socket.send_text(json.dumps({"type": kind, **facts}))


def snapshot(studio: Studio) -> dict[str, Any]:
    """What the page always shows."""
    views = studio.board.views()
    for view in views:
        view["region"] = region_facts(studio.region(view["name"])) if view["name"] in studio.names else None
    hard = studio.windows.hard()
    changes = studio.teaching.changes()
    return {
        "sources": views,
        "gallery": {"version": list(studio.recognizer.gallery.version), "window_s": studio.window_s},
        "review": sum(seen.standing == OPEN for seen in hard),
        "undo": changes[0] if changes else None,
        "evidence": studio.evidence is not None,
    }


def region_facts(roi: Roi | None) -> dict[str, float] | None:
    """A region as the API takes and gives it."""
    return None if roi is None else {"x": roi.x, "y": roi.y, "width": roi.width, "height": roi.height}
