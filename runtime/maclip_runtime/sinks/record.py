"""An event as one line of JSON, the same for every sink."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from maclip_runtime.decisions import Event

SCHEMA = 3


def event_record(event: Event) -> dict[str, Any]:
    """The fields of `Event` under their own names, after "schema" (docs/events.md).

    Under one schema number keys may be added, but never renamed, removed or redefined. A number that is not finite
    becomes None. A sink may deliver a record twice; `id`, `kind` and `end_s` identify it.
    """
    fields = {name: _finite(value) for name, value in dataclasses.asdict(event).items()}
    return {"schema": SCHEMA, **fields}


def event_line(event: Event) -> bytes:
    """`event_record` as one line of UTF-8 JSON, with its line break.

    A file name that is not UTF-8 reaches Python with lone surrogates, which become "?".
    """
    return json.dumps(event_record(event), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
