"""Gallery: classes and clips page by page, changes that can be undone, what harms it, export and import."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery.exchange import export_gallery, import_gallery
from maclip_runtime.serve.api.bodies import MAX_ID, ClipRemoval, Merging, Moving, Page, Removal, Renaming
from maclip_runtime.serve.api.faults import FAULTS
from maclip_runtime.serve.api.pictures import jpeg
from maclip_runtime.serve.api.teaching import BINARY
from maclip_runtime.serve.studio import Studio

Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Limit = Annotated[int, Query(ge=1, le=200)]
ClassName = Annotated[str | None, Query(max_length=200)]


def gallery(studio: Studio) -> APIRouter:
    """The endpoints."""
    router = APIRouter(prefix="/api", tags=["gallery"], responses=FAULTS)
    shelf, teaching = studio.shelf, studio.teaching

    @router.get("/classes")
    def classes(q: Annotated[str, Query(max_length=200)] = "", offset: Offset = 0, limit: Limit = 40) -> Page:
        """The classes by name, with some of their clips."""
        total, items = shelf.classes(q, offset, limit)
        return Page(total=total, items=items)

    @router.get("/clips")
    def clips(name: ClassName = None, offset: Offset = 0, limit: Limit = 40) -> Page:
        """The clips of a class, the newest first; without a name those that show none of the actions."""
        total, items = shelf.clips(name, offset, limit)
        return Page(total=total, items=items)

    @router.get("/clips/{clip_id}/strip.jpg", response_class=Response)
    def strip(clip_id: Annotated[int, InPath(ge=0, le=MAX_ID)]) -> Response:
        """A clip's frames side by side, made once when it was enrolled."""
        found = shelf.thumbnail(clip_id)
        if found is None:
            raise MaclipError("clip-unknown", "There is no such clip.", "It may have been removed.")
        return jpeg(found)

    @router.post("/classes/rename")
    def rename(body: Renaming) -> dict[str, Any]:
        """Rename a class."""
        teaching.rename(body.old, body.new)
        return {"name": body.new}

    @router.post("/classes/merge")
    def merge(body: Merging) -> dict[str, Any]:
        """Make all clips of a class clips of another one."""
        if studio.recognizer.gallery.spelling(body.source) == studio.recognizer.gallery.spelling(body.target):
            raise MaclipError("class-exists", "A class cannot be merged with itself.", "Choose another one.")
        return {"clips": teaching.merge(body.source, body.target), "name": body.target}

    @router.post("/classes/remove")
    def remove(body: Removal) -> dict[str, Any]:
        """Remove a class with all its clips."""
        return {"clips": teaching.remove(body.name)}

    @router.post("/clips/remove")
    def remove_clip(body: ClipRemoval) -> dict[str, Any]:
        """Remove one clip of a class, or a clip of none."""
        if body.name is None:
            teaching.remove_negative(body.id)
        else:
            teaching.remove(body.name, body.id)
        return {"clips": 1}

    @router.post("/clips/move")
    def move(body: Moving) -> dict[str, Any]:
        """Move clips to a class, which need not exist yet."""
        return {"clips": teaching.move(body.ids, body.name), "name": body.name}

    @router.get("/changes")
    def changes() -> list[dict[str, Any]]:
        """What can be undone, the last change first."""
        return teaching.changes()

    @router.post("/undo")
    def undo() -> dict[str, Any]:
        """Undo the last change."""
        return teaching.undo()

    @router.get("/gallery/export", response_class=FileResponse)
    def export() -> FileResponse:
        """All of the gallery as one file, for another machine with the same bundle."""
        folder = tempfile.mkdtemp(prefix="maclip-export-")
        path = Path(folder) / "gallery.zip"

        def clear() -> None:
            path.unlink(missing_ok=True)
            os.rmdir(folder)

        try:
            export_gallery(studio.recognizer.gallery, path)
        except BaseException:
            clear()
            raise
        return FileResponse(
            path, media_type="application/zip", filename="gallery.zip", background=BackgroundTask(clear)
        )

    @router.post("/gallery/import", openapi_extra={"requestBody": {"content": {"application/zip": {"schema": BINARY}}}})
    async def import_file(request: Request, new_only: bool = False) -> dict[str, Any]:
        """Add what another gallery has exported; the file is the body."""
        handle, path = tempfile.mkstemp(prefix="maclip-import-")
        try:
            with os.fdopen(handle, "wb") as file:
                async for piece in request.stream():
                    file.write(piece)

            def work() -> dict[str, Any]:
                done = import_gallery(studio.recognizer.gallery, path, new_only=new_only)
                return {**dataclasses.asdict(done), "clips": done.added}

            return await run_in_threadpool(teaching.other, "import", work)
        except MaclipError as error:  # the file's name here is nobody's business
            raise MaclipError(error.code, error.message.replace(path, "the file"), error.fix) from error
        finally:
            os.unlink(path)

    @router.post("/doctor")
    def diagnose() -> dict[str, Any]:
        """Look for clips that do harm, in the background; see `GET /api/doctor`."""
        return studio.jobs.start("doctor", studio.diagnose).facts()

    @router.get("/doctor")
    def diagnosis() -> dict[str, Any]:
        """The last look: its progress, or what it found."""
        job = studio.jobs.get("doctor")
        return {"state": "none"} if job is None else job.facts()

    return router
