"""No text that reaches a person, a log or the gallery holds a credential."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maclip_runtime import Recognizer, open_source
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.take import Take
from maclip_runtime.redaction import redact, redact_text
from maclip_runtime.sources import SequentialSource, SourceOptions

SECRETS = ("s3cret", "t0ken")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://admin:s3cret@cam/1?x=t0ken", "rtsp://***@cam/1?x=***"),
        ("RTSP://admin:s3cret@cam/1", "RTSP://***@cam/1"),
        ("rtsp:/admin:s3cret@cam/1", "rtsp:/***@cam/1"),  # what pathlib makes of it
        ("door=rtsp://admin:s3cret@cam/1", "door=rtsp://***@cam/1"),
        ("/home/me/rtsp:/admin:s3cret@cam/1", "/home/me/rtsp:/***@cam/1"),
        ("admin:s3cret@cam/1", "***@cam/1"),
        (
            "rtsp://cam:554/user=admin_password=s3cret_channel=1.sdp",
            "rtsp://cam:554/user=***_password=***_channel=1.sdp",
        ),
        ("clips/who?=me.mp4", "clips/who?=me.mp4"),
        ("a@b.mp4", "a@b.mp4"),
        ("C:/clips/a.mp4", "C:/clips/a.mp4"),
        ("concat:/a.mp4|/b.mp4", "concat:/a.mp4|/b.mp4"),
    ],
)
def test_credentials_are_hidden_and_paths_are_not(uri: str, shown: str) -> None:
    assert redact(uri) == shown
    assert redact(redact(uri)) == shown


def test_the_end_of_a_sentence_is_kept() -> None:
    said = redact_text("Lost rtsp://a:s3cret@cam/1?key=t0ken. See http://127.0.0.1:9/metrics, or (http://a:b@c/d).")
    assert said == "Lost rtsp://***@cam/1?key=***. See http://127.0.0.1:9/metrics, or (http://***@c/d)."


class Own(SequentialSource):
    def produce(self) -> object:  # type: ignore[override]
        return iter(())


def test_errors_takes_and_sources_cannot_hold_one() -> None:
    error = MaclipError("clip-unreadable", "rtsp://admin:s3cret@cam/1 is lost.", "Write rtsp://USER:PASSWORD@HOST.")
    take = Take(np.zeros((1, 2, 2, 3), np.uint8), 1.0, "rtsp://admin:s3cret@cam/1")

    said = f"{error} {error.message} {take.source} {Own('http://cam/1?token=t0ken').name}"
    assert not any(secret in said for secret in SECRETS)
    assert error.fix == "Write rtsp://USER:PASSWORD@HOST."


@pytest.mark.parametrize(
    "uri", ["rtsp://admin:s3cret@cam/1?x=t0ken", "Http://admin:s3cret@cam/1", "rtsp:/a:s3cret@cam/1"]
)
def test_an_address_where_a_clip_is_wanted_is_refused_as_one(bundle: Path, enrolled: Path, uri: str) -> None:
    with Recognizer.open(bundle, enrolled) as recognizer:
        calls = (
            lambda: recognizer.classify(uri),
            lambda: recognizer.classify(Path(uri)),
            lambda: recognizer.enroll("waving", [uri], no_text=True),
            lambda: recognizer.add_negatives([Path(uri)]),
        )
        for call in calls:
            with pytest.raises(MaclipError, match="cannot be read as a whole clip") as caught:
                call()
            assert caught.value.code == "clip-unreadable"
            assert not any(secret in repr(caught.value) for secret in SECRETS)


def test_a_name_that_is_an_address_loses_its_credentials(clips: Path) -> None:
    with open_source(clips / "red1.mp4", SourceOptions(name="http://a:s3cret@cam/1")) as source:
        assert source.name == source.status.name == "http://***@cam/1"


def test_a_long_text_is_redacted_in_no_time() -> None:
    """Each place of it could begin a scheme; without a bound of its length this took minutes."""
    for text in ("x" * 200_000, "x+" * 100_000, "a:/" * 60_000, "user=" * 40_000):
        assert len(redact_text(text)) == len(text)
    assert redact("y" * 200_000 + "rtsp://admin:s3cret@cam/1").endswith("rtsp://***@cam/1")
    assert "s3cret" not in redact_text("z" * 200_000 + "rtsp://admin:s3cret@cam/1 is lost")


def test_names_cannot_forge_a_line_or_command_the_terminal(tmp_path: Path) -> None:
    evil = "a\nfix: none\x1b[2J\u202e.mp4"
    error = MaclipError("clip-unreadable", f"{evil} does not exist.", f"Rename {evil}.")
    source = Own(str(tmp_path / evil))
    for said in (error.message, error.fix, str(error), source.name):
        assert "a\\nfix: none\\x1b[2J\\u202e.mp4" in said
        assert said.isprintable()
    assert len(MaclipError("name-invalid", "x" * 10**6, "y").message) < 11_000
    assert (
        MaclipError("name-invalid", "\u0645\u06cc\u200c\u062e", "y").message == "\u0645\u06cc\u200c\u062e"
    )  # a joiner stays


def test_an_address_that_became_a_path_is_redacted_too() -> None:
    path = Path("door=rtsp://admin:s3cret@cam/1")
    assert MaclipError("output-unwritable", f"{path} cannot be written.", "x").message == (
        "door=rtsp:/***@cam/1 cannot be written."
    )
