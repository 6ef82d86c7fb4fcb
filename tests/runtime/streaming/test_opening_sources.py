"""Several sources are opened at the same time; one that cannot be opened leaves the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drawn_camera import Camera, camera_frames

from maclip_runtime import Callbacks, Event, Recognizer, SourceState, SourceStatus
from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import Source, SourceOptions
from maclip_runtime.streaming import opening

OPTIONS = SourceOptions()


class Closing(Camera):
    """A camera that says whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def recognizer(bundle: Path, enrolled: Path) -> Iterator[Recognizer]:
    with Recognizer.open(bundle, enrolled, device="cpu") as opened:
        yield opened


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], Source]], None]:
    """Have sources opened by this function."""
    return lambda open_one: monkeypatch.setattr(opening, "open_source", lambda uri, options: open_one(uri))


def lost(name: str) -> MaclipError:
    return MaclipError("source-lost", f"{name} does not answer.", "Look at it.")


def red(name: str) -> Closing:
    return Closing(name, camera_frames(("red", 2.0)))


def test_all_are_opened_at_the_same_time_and_keep_their_order(opens: Callable[..., None]) -> None:
    together = threading.Barrier(4, timeout=20)  # passed only if four threads are in it at once

    def slow(uri: str) -> Source:
        together.wait()
        time.sleep(0.05 * (4 - int(uri)))  # the last one is there first
        return red(uri)

    opens(slow)
    assert [source.name for source in opening.open_sources([(f"{n}", OPTIONS) for n in range(4)])] == list("0123")


def test_one_that_cannot_be_opened_leaves_the_others(
    recognizer: Recognizer, opens: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    class States(Callbacks):
        def __init__(self) -> None:
            self.seen: list[tuple[str, SourceState, str]] = []

        def status(self, status: SourceStatus) -> None:
            self.seen.append((status.name, status.state, status.problem))

    def some(uri: str) -> Source:
        if uri == "rtsp://me:secret@door":
            raise lost("door")
        return red(uri)

    opens(some)
    events: list[Event] = []
    states = States()
    names = ["left", "rtsp://me:secret@door", "right"]
    with pytest.raises(MaclipError) as caught:
        events.extend(recognizer.watch(names, window_s=1.0, callbacks=[states]))
    assert caught.value.message == "door does not answer."
    assert sorted((e.source, e.label) for e in events if e.kind == "end") == [
        ("left", "red light"),
        ("right", "red light"),
    ]
    assert ("rtsp://***@door", SourceState.ENDED, "door does not answer.") in states.seen
    assert "secret" not in caplog.text
    assert caplog.text.count("door does not answer") == 1


def test_where_none_can_be_opened_the_first_error_is_raised(recognizer: Recognizer, opens: Callable[..., None]) -> None:
    def fail(uri: str) -> Source:
        time.sleep(0.05 * (3 - int(uri)))
        raise lost(uri)

    opens(fail)
    for names in (["1"], ["1", "2"]):
        with pytest.raises(MaclipError) as caught:
            list(recognizer.watch(names))
        assert caught.value.message == "1 does not answer."


def test_an_interrupt_closes_what_is_open_and_what_opens_later(
    opens: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {name: red(name) for name in ("quick", "slow")}
    interrupted, done = threading.Event(), threading.Event()

    def some(uri: str) -> Source:
        if uri == "slow":
            interrupted.wait(20)
        return made[uri]

    class Interrupted(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            super().join(timeout)  # of the first thread, which is ready at once
            raise KeyboardInterrupt

        def run(self) -> None:
            super().run()
            if interrupted.is_set():
                done.set()

    opens(some)
    monkeypatch.setattr(opening.threading, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        opening.open_sources([("quick", OPTIONS), ("slow", OPTIONS)])
    assert made["quick"].closed
    assert not made["slow"].closed
    interrupted.set()
    assert done.wait(20)
    assert made["slow"].closed


def test_a_bug_while_opening_is_raised_and_closes_the_rest(opens: Callable[..., None]) -> None:
    made = red("good")

    def some(uri: str) -> Source:
        if uri == "bad":
            raise ZeroDivisionError
        return made

    opens(some)
    with pytest.raises(ZeroDivisionError):
        opening.open_sources([("good", OPTIONS), ("bad", OPTIONS)])
    assert made.closed


def test_a_watch_closes_all_its_sources(recognizer: Recognizer, opens: Callable[..., None]) -> None:
    made = {name: red(name) for name in ("one", "two")}
    opens(made.__getitem__)
    for _ in recognizer.watch(list(made), window_s=1.0):
        break
    assert all(source.closed for source in made.values())
