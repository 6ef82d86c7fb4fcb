"""The application: guard, endpoints, and the page's files."""

from __future__ import annotations

import mimetypes
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from starlette.middleware import Middleware

from maclip_runtime.errors import MaclipError
from maclip_runtime.serve.access import SESSION_SECONDS, Access
from maclip_runtime.serve.api.bodies import Login
from maclip_runtime.serve.api.faults import FAULTS, add_handlers
from maclip_runtime.serve.api.gallery import gallery
from maclip_runtime.serve.api.measuring import measuring
from maclip_runtime.serve.api.reviewing import reviewing
from maclip_runtime.serve.api.teaching import teaching
from maclip_runtime.serve.api.watching import watching
from maclip_runtime.serve.guard import COOKIE, Guard, session_of
from maclip_runtime.serve.studio import Studio

PAGE = Path(__file__).parent / "page"
TYPES = {".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml"}
DESCRIPTION = (
    "Watch sources, teach actions, review windows, and change the gallery. Errors are "
    '`{"code", "message", "fix"}`. Where a token is required, send it as `Authorization: Bearer TOKEN`. Events and '
    "states come by WebSocket at `/api/live` (docs/serve.md)."
)


def build_app(studio: Studio, access: Access, *, metrics_url: str | None = None) -> FastAPI:
    """The ASGI application of a studio."""
    app = FastAPI(
        title="maclip",
        version=_version(),
        description=DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # they load their scripts from elsewhere
        redoc_url=None,
        middleware=[Middleware(Guard, access=access)],
    )
    add_handlers(app)

    @app.get("/api/session", tags=["session"], responses=FAULTS)
    def session(request: Request) -> dict[str, bool]:
        """Whether a token is needed, and whether this browser has logged in."""
        known = access.is_session(session_of(request.headers.get("cookie", "")))
        return {"required": access.required, "open": known or not access.required}

    @app.post("/api/login", tags=["session"], responses=FAULTS)
    def login(body: Login, request: Request, response: Response) -> dict[str, bool]:
        """Exchange the token for a cookie."""
        address = request.client.host if request.client else ""
        if access.required and not access.is_token(body.token, address):
            raise MaclipError("token-wrong", "This is not the token.", "Use the one that the server printed.")
        response.set_cookie(
            COOKIE,
            access.open_session(),
            max_age=int(SESSION_SECONDS),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return {"open": True}

    @app.post("/api/logout", tags=["session"], responses=FAULTS)
    def logout(request: Request, response: Response) -> dict[str, bool]:
        """End this browser's session."""
        access.close_session(session_of(request.headers.get("cookie", "")))
        response.delete_cookie(COOKIE)
        return {"open": not access.required}

    for router in (watching, teaching, reviewing, gallery):
        app.include_router(router(studio))
    app.include_router(measuring(studio, metrics_url))
    _add_page(app)
    return app


def _add_page(app: FastAPI) -> None:
    """The page's files, found once: no path from a request is ever opened."""
    files = {path.relative_to(PAGE).as_posix(): path for path in PAGE.rglob("*") if path.is_file()}

    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        return FileResponse(files["index.html"], media_type="text/html", headers={"cache-control": "no-cache"})

    @app.get("/favicon.svg", include_in_schema=False)
    def icon() -> FileResponse:
        return FileResponse(files["icon.svg"], media_type=TYPES[".svg"])

    @app.get("/page/{name:path}", include_in_schema=False)
    def part(name: str) -> FileResponse:
        found = files.get(name)
        if found is None:
            raise MaclipError("no-such-thing", "There is no such file.", "Open / for the page.")
        kind = TYPES.get(found.suffix) or mimetypes.guess_type(found.name)[0]
        return FileResponse(found, media_type=kind, headers={"cache-control": "no-cache"})


def _version() -> str:
    try:
        return version("maclip")
    except PackageNotFoundError:  # a checkout that was not installed
        return "0"


def openapi(app: FastAPI) -> dict[str, Any]:
    """The API's description."""
    return app.openapi()
