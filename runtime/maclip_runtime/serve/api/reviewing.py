"""Review and Why: windows that had no sure answer, giving them a class, and explanations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response

from maclip_runtime.errors import MaclipError
from maclip_runtime.serve.api.bodies import MAX_ID, MAX_SOURCE_LENGTH, Assignment, Ids, Page
from maclip_runtime.serve.api.faults import FAULTS
from maclip_runtime.serve.api.pictures import frame_of, strip_of
from maclip_runtime.serve.api.teaching import FrameNumber, enrolled_facts
from maclip_runtime.serve.api.watching import EventId
from maclip_runtime.serve.board import answer_facts
from maclip_runtime.serve.clips import prepared
from maclip_runtime.serve.studio import Studio
from maclip_runtime.serve.why import explain
from maclip_runtime.serve.windows import ASSIGNED, NEGATIVE, OPEN, SKIPPED, Seen

WindowId = Annotated[int, Path(ge=1, le=MAX_ID)]
Share = Annotated[float, Query(ge=0, le=1, allow_inf_nan=False)]


def reviewing(studio: Studio) -> APIRouter:
    """The endpoints."""
    router = APIRouter(prefix="/api", tags=["review"], responses=FAULTS)

    @router.get("/windows")
    def windows(
        source: Annotated[str | None, Query(max_length=MAX_SOURCE_LENGTH)] = None,
        kind: Literal["unknown", "uncertain", "near"] | None = None,
        nearest: Annotated[str | None, Query(max_length=200)] = None,
        state: Literal["open", "settled", "done", "all"] = "open",
        since: Annotated[float, Query(ge=0, le=1e12, allow_inf_nan=False)] = 0.0,
        min_match: Share = 0.0,
        max_match: Share = 1.0,
        offset: Annotated[int, Query(ge=0, le=10_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 30,
    ) -> Page:
        """Windows to look at, the newest first, answered by the gallery as it is now."""
        studio.rescore()
        found = [
            seen
            for seen in studio.windows.hard()
            if source in (None, seen.source)
            and kind in (None, seen.kind)
            and nearest in (None, seen.answer.nearest)
            and state in ("all", seen.standing)
            and seen.at >= since
            and min_match <= seen.answer.match <= max_match
        ]
        return Page(total=len(found), items=[seen_facts(seen) for seen in found[offset : offset + limit]])

    @router.get("/windows/{window_id}")
    def window(window_id: WindowId) -> dict[str, Any]:
        """One window."""
        studio.rescore()
        return seen_facts(find(window_id))

    @router.get("/windows/{window_id}/frames/{number}.jpg", response_class=Response)
    def frame(window_id: WindowId, number: FrameNumber) -> Response:
        """One frame of a window."""
        return frame_of(find(window_id).pictures, number)

    @router.get("/windows/{window_id}/strip.jpg", response_class=Response)
    def strip(window_id: WindowId) -> Response:
        """The frames that the network saw, side by side."""
        seen = find(window_id)
        return strip_of(prepared(seen.pictures, seen.region, studio.recognizer.bundle.manifest, seen.source))

    @router.post("/windows/assign")
    def assign(body: Assignment) -> dict[str, Any]:
        """Add windows to a class, or to the clips of none; near copies of each other are left out and named."""
        chosen = [find(number) for number in body.ids]
        clips = [studio.clip_of(seen) for seen in chosen]
        undone = _reopen(chosen)
        if body.name is None:
            ids, left, _ = studio.teaching.add_negatives(clips, undone=undone)
            facts: dict[str, Any] = {"name": None, "added": len(ids)}
        else:
            done, left, _ = studio.teaching.enroll(body.name, clips, force=body.force, kind="assign", undone=undone)
            facts = enrolled_facts(done)
        for seen in chosen:
            seen.state, seen.name = (NEGATIVE, "") if body.name is None else (ASSIGNED, facts["name"])
        return {**facts, "left_out": left}

    @router.post("/windows/skip")
    def skip(body: Ids) -> dict[str, Any]:
        """Mark windows as looked at, without teaching anything."""
        for number in body.ids:
            find(number).state = SKIPPED
        return {"skipped": len(body.ids)}

    @router.post("/windows/reopen")
    def reopen(body: Ids) -> dict[str, Any]:
        """Take back `skip`."""
        for number in body.ids:
            find(number).state = OPEN
        return {"reopened": len(body.ids)}

    @router.get("/windows/{window_id}/why", tags=["why"])
    def why(window_id: WindowId) -> dict[str, Any]:
        """The nearest clips frame by frame, distances and limits, and what teaching the window would change."""
        studio.rescore()
        return {**explain(studio.recognizer, find(window_id), studio.windows.hard()), "window": window(window_id)}

    @router.get("/events/{event_id}/why", tags=["why"])
    def why_event(event_id: EventId) -> dict[str, Any]:
        """`why` of the window that shows an event best."""
        seen = studio.windows.of_event(event_id)
        if seen is None:
            raise MaclipError("window-unknown", "The windows of this event are not kept.", "Look at a newer event.")
        return why(seen.id)

    def find(number: int) -> Seen:
        seen = studio.windows.find(number)
        if seen is None:
            raise MaclipError("window-unknown", "This window is not kept any more.", "Look at a newer one.")
        return seen

    return router


def _reopen(chosen: list[Seen]) -> Callable[[], None]:
    """Undoes what assigning does to windows."""

    def reopen() -> None:
        for seen in chosen:
            seen.state, seen.name = OPEN, ""

    return reopen


def seen_facts(seen: Seen) -> dict[str, Any]:
    """A window as plain values."""
    return {
        "id": seen.id,
        "source": seen.source,
        "at": seen.at,
        "duration_s": round(seen.end_s - seen.start_s, 3),
        "kind": seen.kind,
        "state": seen.state,
        "name": seen.name,
        "frames": len(seen.pictures),
        "first": answer_facts(seen.verdict),
        "now": answer_facts(seen.answer),
    }
