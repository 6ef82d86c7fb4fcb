"""Errors as JSON: the code, the sentence and the fix, and a fitting HTTP status."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from maclip_runtime.errors import EXIT_MACHINE_LACKS, EXIT_OUR_FAULT, MaclipError
from maclip_runtime.reading.quality import ClipRejected
from maclip_runtime.serve.api.bodies import Fault

log = logging.getLogger("maclip")

MISSING = {"source-unknown", "class-unknown", "clip-unknown", "window-unknown", "evidence-missing", "no-such-thing"}
CONFLICTS = {"clip-rejected", "class-exists", "job-running", "undo-empty", "gallery-empty", "contract-mismatch"}
BY_CODE = {"upload-too-large": 413, "too-many-tries": 429, "token-wrong": 401, "source-lost": 503}
FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": Fault} for status in (400, 401, 403, 404, 409, 413, 422, 429, 500, 503)
}


def status_of(error: MaclipError) -> int:
    """The HTTP status for an error."""
    if error.code in BY_CODE:
        return BY_CODE[error.code]
    if error.code in MISSING:
        return 404
    if error.code in CONFLICTS:
        return 409
    return {EXIT_OUR_FAULT: 500, EXIT_MACHINE_LACKS: 503}.get(error.exit_code, 400)


def add_handlers(app: FastAPI) -> None:
    """Let `app` answer errors so."""

    @app.exception_handler(MaclipError)
    async def refuse(request: Request, error: MaclipError) -> JSONResponse:
        body: dict[str, Any] = {"code": error.code, "message": error.message, "fix": error.fix}
        if isinstance(error, ClipRejected):
            body["rejections"] = [
                {"source": one.source, "reasons": [{"code": why.code, "words": why.words} for why in one.reasons]}
                for one in error.rejections
            ]
        return JSONResponse(body, status_of(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first: dict[str, Any] = next(iter(error.errors()), {})
        where = ".".join(str(part) for part in first.get("loc", ()))
        message = f"{where}: {first.get('msg', 'not as it should be')}."
        return JSONResponse({"code": "request-invalid", "message": message, "fix": "See /api/openapi.json."}, 422)

    @app.exception_handler(HTTPException)
    async def absent(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, MaclipError):  # FastAPI's own error for a body that could not be read
            return await refuse(request, error.__cause__)
        body = {"code": "no-such-thing", "message": f"{error.detail}.", "fix": "See /api/openapi.json."}
        return JSONResponse(body, error.status_code, headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return JSONResponse({"code": "internal", "message": type(error).__name__, "fix": "Report this."}, 500)
