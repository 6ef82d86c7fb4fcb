"""The API is fuzzed from its own OpenAPI document: no request makes the server fail or answer as it did not say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, serving
from videos import color_video

schemathesis = pytest.importorskip("schemathesis")
pytest.importorskip("fastapi")
hypothesis = pytest.importorskip("hypothesis")

EXAMPLES = 4  # of each operation
# Each has a test of its own: they take long, or their bodies are files.
APART = ("/api/takes/record", "/api/takes/upload", "/api/gallery/import", "/api/calibrate", "/api/doctor")


@pytest.fixture(scope="module")
def served(bundle: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("fuzz")
    video = color_video(folder / "door.mp4", [("red", 1.0)])
    with serving(bundle, folder / "gallery.db", [("door", video)]) as found:
        found.studio.recognizer.enroll("red light", [clips / "red1.mp4", clips / "red2.mp4"])
        yield found


def test_every_operation_keeps_to_its_description(served: Served) -> None:
    schema: Any = schemathesis.openapi.from_dict(served.call("GET", "/api/openapi.json"))
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in APART and operation.method == "post":
            continue
        tried += 1
        fuzz(operation, served.url)
    assert tried > 30
    assert served.call("GET", "/api/session")["open"]


def fuzz(operation: Any, url: str) -> None:
    """Requests of one operation, right ones and wrong ones."""
    checks = [
        schemathesis.checks.not_a_server_error,
        schemathesis.checks.CHECKS.get_one("status_code_conformance"),
        schemathesis.checks.CHECKS.get_one("response_schema_conformance"),
    ]

    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(case=operation.as_strategy())
    def check(case: Any) -> None:
        case.call_and_validate(base_url=url, checks=checks, timeout=60)

    check()
