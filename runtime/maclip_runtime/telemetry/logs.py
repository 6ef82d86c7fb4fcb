"""Structured logs, as text or JSON Lines, without credentials."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any, Literal, TextIO

from maclip_runtime.callbacks import Callbacks
from maclip_runtime.decisions import Event
from maclip_runtime.redaction import one_line, redact_text
from maclip_runtime.sources import SourceState, SourceStatus

log = logging.getLogger("maclip")

PROBLEM_STATES = {SourceState.STALLED, SourceState.LOST}


def configure_logs(style: Literal["text", "json"], stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream` (default: stderr): maclip's from INFO or DEBUG, others' from WARNING.

    A record's fields come from `extra={"fields": {...}}`. A JSON line has "time" (UTC), "level", "logger", "message",
    "exception" for a traceback, and the fields.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Text())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    log.setLevel(logging.DEBUG if log.level == logging.DEBUG else logging.INFO)


class EventLogger(Callbacks):
    """Logs state changes of sources, and starts and ends of events, with fields."""

    def __init__(self) -> None:
        self._states: dict[str, SourceState] = {}

    def status(self, status: SourceStatus) -> None:
        """Log a change of state; a stalled or lost source as a warning."""
        if self._states.get(status.name) is status.state:
            return
        self._states[status.name] = status.state
        problem = status.state in PROBLEM_STATES
        fields = {
            "source": status.name,
            "state": status.state.value,
            "frames": status.frames,
            "dropped": status.dropped,
            "reconnects": status.reconnects,
            **({"problem": status.problem} if problem else {}),
        }
        log.log(logging.WARNING if problem else logging.INFO, "source %s", status.state.value, extra={"fields": fields})

    def event(self, event: Event) -> None:
        """Log a start or an end."""
        if event.kind != "update":
            fields = {
                "source": event.source,
                "label": event.label,
                "match": round(event.match, 4),
                "score": round(event.score, 4),
                "start_s": round(event.start_s, 3),
                "end_s": round(event.end_s, 3),
                **({"reason": event.reason} if event.reason else {}),
                **({"withdrawn": True} if event.withdrawn else {}),
                "id": event.id,
            }
            log.info("event %s", event.kind, extra={"fields": fields})


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        own = {"time": _utc(record), "level": record.levelname.lower(), "logger": record.name}
        own["message"] = redact_text(record.getMessage())
        if record.exc_info:
            own["exception"] = redact_text(self.formatException(record.exc_info))
        line = json.dumps({**_fields(record), **own}, ensure_ascii=False, default=str)
        return line.encode("utf-8", "replace").decode()


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_quoted(value)}" for name, value in _fields(record).items())
        # One line per record: a name with a line break must not forge another.
        message = one_line(redact_text(record.getMessage()))
        line = f"{_utc(record)} {record.levelname:7} {message}{fields}"
        if record.exc_info:
            line += "\n" + redact_text(self.formatException(record.exc_info))
        return line.encode("utf-8", "replace").decode()


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return {name: redact_text(value) if isinstance(value, str) else value for name, value in fields.items()}


def _quoted(value: Any) -> str:
    text = str(value)
    return text if re.fullmatch(r"[^\s\"=]+", text) else json.dumps(text, ensure_ascii=False)


def _utc(record: logging.LogRecord) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{moment}.{int(record.msecs):03}Z"
