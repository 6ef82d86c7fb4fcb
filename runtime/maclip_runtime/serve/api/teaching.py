"""Teach: recordings and uploads, and giving them a name."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool

from maclip_runtime.bundle.names import name_key
from maclip_runtime.decisions import Classification
from maclip_runtime.errors import MaclipError
from maclip_runtime.evidence.shots import Still
from maclip_runtime.matching.enrolment import Enrolled
from maclip_runtime.serve.api.bodies import Keeping, Recording
from maclip_runtime.serve.api.faults import FAULTS
from maclip_runtime.serve.api.pictures import frame_of, strip_of
from maclip_runtime.serve.clips import NewClip
from maclip_runtime.serve.decoding import decode_upload
from maclip_runtime.serve.studio import Studio

MAX_NAMES = 12
KINDS = ("video/", "application/octet-stream", "application/mp4")

TakeId = Annotated[str, InPath(pattern="^[0-9a-f]{16}$")]
FrameNumber = Annotated[int, InPath(ge=0, le=10_000)]


def teaching(studio: Studio) -> APIRouter:
    """The endpoints."""
    router = APIRouter(prefix="/api", tags=["teach"], responses=FAULTS)
    known = [(name, name_key(name)) for name in studio.recognizer.bundle.names]

    @router.post("/takes/record")
    def record(body: Recording) -> dict[str, Any]:
        """Record a source from now on, for so many seconds."""
        return take_facts(studio, studio.record(body.source, body.seconds))

    @router.post("/takes/upload", openapi_extra={"requestBody": {"content": {"video/*": {"schema": BINARY}}}})
    async def upload(
        request: Request, name: Annotated[str, Query(min_length=1, max_length=200)] = "upload"
    ) -> dict[str, Any]:
        """A video file as the body; it is decoded in a process with limits."""
        kind = request.headers.get("content-type", "").lower()
        if not kind.startswith(KINDS):
            raise MaclipError("upload-invalid", "This is no video.", "Send a video file, such as MP4 or WebM.")
        handle, path = tempfile.mkstemp(prefix="maclip-upload-")
        try:
            with os.fdopen(handle, "wb") as file:
                async for piece in request.stream():
                    file.write(piece)
            clip = await run_in_threadpool(uploaded, studio, Path(path), name)
        finally:
            os.unlink(path)
        return await run_in_threadpool(take_facts, studio, clip)

    @router.get("/takes/{take_id}")
    def take(take_id: TakeId) -> dict[str, Any]:
        """A recording that waits for a name."""
        return take_facts(studio, studio.new_clips.get(take_id))

    @router.delete("/takes/{take_id}")
    def drop(take_id: TakeId) -> dict[str, Any]:
        """Forget a recording."""
        studio.new_clips.get(take_id)
        studio.new_clips.drop(take_id)
        return {"dropped": take_id}

    @router.get("/takes/{take_id}/frames/{number}.jpg", response_class=Response)
    def frame(take_id: TakeId, number: FrameNumber) -> Response:
        """One frame of a recording."""
        return frame_of(studio.new_clips.get(take_id).stills, number)

    @router.get("/takes/{take_id}/strip.jpg", response_class=Response)
    def strip(take_id: TakeId) -> Response:
        """The frames that the network sees, side by side."""
        return strip_of(studio.new_clips.get(take_id).frames)

    @router.post("/takes/{take_id}/keep")
    def keep(take_id: TakeId, body: Keeping) -> dict[str, Any]:
        """Add a recording to a class, or to the clips of none of them."""
        clip = studio.new_clips.get(take_id)
        if body.name is None:
            studio.teaching.add_negatives([clip])
            facts = negatives_facts(studio)
        else:
            done, _, _ = studio.teaching.enroll(body.name, [clip], no_text=body.no_text, force=body.force)
            facts = enrolled_facts(done)
        studio.new_clips.drop(take_id)
        return facts

    @router.get("/names")
    def names(q: Annotated[str, Query(max_length=200)] = "") -> list[dict[str, Any]]:
        """Names that begin with, or contain, `q`: first the gallery's classes, then what the bundle knows."""
        wanted, classes = name_key(q), studio.shelf.names()
        enrolled = {name for name, _ in classes}
        hits = [(not key.startswith(wanted), False, name) for name, key in classes if wanted in key]
        others = ((name, key) for name, key in known if name not in enrolled and wanted in key)
        hits += [(not key.startswith(wanted), True, name) for name, key in others]
        return [{"name": name, "enrolled": not other} for _, other, name in sorted(hits)[:MAX_NAMES]]

    return router


BINARY = {"type": "string", "format": "binary"}


def uploaded(studio: Studio, path: Path, name: str) -> NewClip:
    """The clip of an uploaded file."""
    shown = "".join(sign for sign in Path(name).name if sign.isprintable())[:100] or "upload"
    frames, duration_s = decode_upload(path, shown)
    step_s = duration_s / max(1, len(frames))
    stills = [Still(number * step_s, jpeg) for number, jpeg in enumerate(frames)]
    clip = NewClip.of(shown, stills, max(duration_s, 1e-3), None, studio.recognizer.bundle.manifest)
    return studio.new_clips.add(clip)


def take_facts(studio: Studio, clip: NewClip) -> dict[str, Any]:
    """A recording with its quality, and what the gallery says of it now."""
    return {**clip.facts(), "answer": answer_to(studio, clip)}


def answer_to(studio: Studio, clip: NewClip) -> dict[str, Any] | None:
    """What the gallery says of a clip; None while it is empty."""
    recognizer = studio.recognizer
    if recognizer.index.get() is None:
        return None
    (answer,) = studio.measure(recognizer.encoder.features(clip.frames[None]))
    if answer.missing:
        return None
    found = Classification.of(answer, recognizer.decisions, source=clip.source, duration_s=clip.duration_s)
    return {"label": found.label, "nearest": found.nearest, "match": round(found.match, 4)}


def enrolled_facts(done: Enrolled) -> dict[str, Any]:
    """What an enrolment did."""
    return {
        "name": done.name,
        "added": done.added,
        "clips": done.clips,
        "text_name": done.text_name,
        "forced": list(done.forced),
        "notes": list(done.notes),
    }


def negatives_facts(studio: Studio) -> dict[str, Any]:
    """What adding a negative did."""
    return {"name": None, "added": 1, "clips": len(studio.recognizer.gallery.negatives()), "notes": []}
