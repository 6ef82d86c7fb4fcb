"""A live source without a network: what it does with connections that a test has written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import Roi, SourceOptions, SourceState
from maclip_runtime.sources.clock import StreamClock
from maclip_runtime.sources.connection import Arrival, Connection, ConnectionLost
from maclip_runtime.sources.live import (
    FIRST_DELAY_SECONDS,
    MAX_DELAY_SECONDS,
    MAX_FIRST_TRIES,
    REFUSED_DELAY_SECONDS,
    Backoff,
    LiveSource,
)

PATIENCE = 10.0  # seconds, for a busy machine
QUICK = Backoff(0.001, 0.002, 0.002)
Say = Callable[[], Iterator[Arrival | None]]


def picture(number: int, stamp_s: float | None = None) -> Arrival:
    return Arrival(lambda: np.full((4, 6, 3), number, np.uint8), stamp_s)


class Script:
    """Connections in turn: an error is raised on connecting, a generator is what the connection brings."""

    def __init__(self, *parts: Exception | Say) -> None:
        self.parts = list(parts)
        self.opened = self.closed = 0

    def __call__(self, open_s: float) -> Connection:
        part = self.parts.pop(0) if self.parts else ConnectionLost("is off")
        if isinstance(part, Exception):
            raise part
        self.opened += 1
        script = self

        class Scripted(Connection):
            def arrivals(self) -> Iterator[Arrival | None]:
                return part()

            def close(self) -> None:
                script.closed += 1

        return Scripted()


def gone(why: str = "went away") -> ConnectionLost:
    return ConnectionLost(why)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_what_was_overtaken_is_counted_and_never_given() -> None:
    sent, go_on = threading.Event(), threading.Event()

    def arrivals() -> Iterator[Arrival]:
        for number in range(5):
            yield picture(number)
        sent.set()
        go_on.wait(PATIENCE)
        yield picture(5)

    with LiveSource("camera", Script(arrivals)) as source:
        assert sent.wait(PATIENCE)
        newest = source.read()
        assert newest is not None
        assert (newest.pixels[0, 0, 0], newest.index) == (4, 0)
        assert source.read(timeout_s=0.01) is None  # not the same frame again
        go_on.set()
        following = source.read(PATIENCE)
        assert following is not None
        assert (following.pixels[0, 0, 0], following.index) == (5, 1)
        assert source.read(PATIENCE) is None  # the source said that it ended
        assert (source.status.frames, source.status.dropped) == (2, 4)
        assert source.status.state is SourceState.ENDED


def test_a_lost_source_says_so_and_marks_the_first_frame_after() -> None:
    taken, back = threading.Event(), threading.Event()

    def first() -> Iterator[Arrival]:
        yield picture(1)
        taken.wait(PATIENCE)
        raise gone("was unplugged")

    def second() -> Iterator[Arrival]:
        yield picture(2)
        yield picture(3)
        back.set()
        threading.Event().wait(0.05)
        yield picture(4)

    script = Script(first, gone(), second)
    with LiveSource("camera", script, options=SourceOptions(reconnects=2), backoff=QUICK) as source:
        frame = source.read(PATIENCE)
        assert frame is not None
        assert not frame.restarted
        taken.set()
        assert back.wait(PATIENCE)
        assert source.status.reconnects == 1
        assert source.status.problem == "went away"
        frame = source.read(PATIENCE)
        assert frame is not None
        assert (frame.pixels[0, 0, 0], frame.restarted) == (3, True)  # though the one that came first was overtaken
        frame = source.read(PATIENCE)
        assert frame is not None
        assert not frame.restarted
    assert (script.opened, script.closed) == (2, 2)


def test_silence_is_a_stall_and_then_a_new_connection() -> None:
    def silent() -> Iterator[Arrival | None]:
        yield picture(1)
        while True:  # sound, but no picture
            yield None
            time.sleep(0.005)

    with LiveSource("camera", Script(silent, silent), options=SourceOptions(stall_s=0.3), backoff=QUICK) as source:
        wait_for(lambda: source.status.state is SourceState.STALLED)
        assert source.status.problem.startswith("sent no picture for")
        assert source.status.since_s < 0.3
        wait_for(lambda: source.status.reconnects == 1)
        assert source.status.problem == "sent no picture for 0.3 s"


@pytest.mark.parametrize("reconnects", [0, 3])
def test_a_source_is_given_up_after_so_many_tries(reconnects: int) -> None:
    def once() -> Iterator[Arrival]:
        yield picture(1)
        raise gone()

    script = Script(once, *[gone("is off")] * 9)
    with LiveSource("camera", script, options=SourceOptions(reconnects=reconnects), backoff=QUICK) as source:
        assert source.read(PATIENCE) is not None
        for _ in range(2):
            with pytest.raises(MaclipError, match=r"camera (went away|is off)") as caught:
                source.read(PATIENCE)
            assert caught.value.code == "source-lost"
        assert source.status.state is SourceState.ENDED
    assert len(script.parts) == 9 - reconnects


def test_a_camera_that_is_off_at_the_start_is_an_error_or_waited_for() -> None:
    def there() -> Iterator[Arrival]:
        yield picture(7)

    off = [gone("is off")] * 5
    script = Script(*off, there)
    with pytest.raises(MaclipError, match="is off") as caught:
        LiveSource("camera", script, backoff=QUICK)
    assert caught.value.code == "source-lost"
    assert len(script.parts) == 6 - MAX_FIRST_TRIES
    with LiveSource("camera", Script(*off, there), options=SourceOptions(wait=True), backoff=QUICK) as source:
        frame = source.read(PATIENCE)
        assert frame is not None
        assert frame.pixels[0, 0, 0] == 7
        assert not frame.restarted


def test_what_no_second_try_can_mend_is_not_tried_again() -> None:
    missing = MaclipError("device-missing", "No GStreamer.", "Install it.", 3)
    script = Script(missing, gone())
    with pytest.raises(MaclipError, match="No GStreamer") as caught:
        LiveSource("camera", script, options=SourceOptions(wait=False), backoff=QUICK)
    assert (caught.value.code, caught.value.exit_code) == ("device-missing", 3)
    script = Script(ConnectionLost("refuses the password", refused=True), gone())
    with pytest.raises(MaclipError, match="refuses"):
        LiveSource("camera", script, backoff=QUICK)
    assert len(script.parts) == 1


def test_an_unforeseen_error_in_the_reader_is_a_loss_and_no_silent_death() -> None:
    def broken() -> Iterator[Arrival]:
        yield picture(1)
        raise ZeroDivisionError

    def there() -> Iterator[Arrival]:
        yield picture(2)

    with LiveSource("camera", Script(broken, there), backoff=QUICK) as source:
        wait_for(lambda: source.status.state is SourceState.ENDED)
        assert source.status.reconnects == 1
        assert source.status.problem == "cannot be read (ZeroDivisionError)"


def test_closing_wakes_a_reader_and_ends_the_thread() -> None:
    def still() -> Iterator[Arrival | None]:
        yield picture(1)
        while True:
            yield None
            time.sleep(0.005)

    source = LiveSource("camera closing", Script(still))
    assert source.read() is not None
    threading.Timer(0.05, source.close).start()
    assert source.read(PATIENCE) is None
    source.close()
    wait_for(lambda: all(thread.name != "maclip camera closing" for thread in threading.enumerate()))


def test_the_region_of_interest_is_cut_from_live_frames() -> None:
    def there() -> Iterator[Arrival]:
        yield picture(1)

    with LiveSource("camera", Script(there), options=SourceOptions(roi=Roi(0.5, 0, 0.5, 0.5))) as source:
        frame = source.read(PATIENCE)
    assert frame is not None
    assert frame.pixels.shape == (2, 3, 3)


def test_time_goes_by_the_senders_stamps_where_frames_come_late() -> None:
    clock = StreamClock()
    clock.connect(paced=False)
    stamps, delays = np.arange(50) / 10, np.tile([0.0, 0.05, 0.02, 0.3, 0.1], 10)
    times = [
        clock.since_first(clock.moment(1e6 + stamp, 500 + stamp + late))
        for stamp, late in zip(stamps, delays, strict=True)
    ]
    np.testing.assert_allclose(times, stamps, atol=0.006)


def test_time_follows_a_senders_drifting_clock() -> None:
    clock = StreamClock()
    clock.connect(paced=False)
    for drift in (0.999, 1.001):
        lags = []
        for now in np.arange(0, 600, 0.1):
            lags.append(now - clock.moment(now * drift, now))
        assert min(lags[100:]) >= 0
        assert max(lags[100:]) < 0.01


def test_time_never_goes_back_and_jumps_with_a_new_clock() -> None:
    clock = StreamClock()
    times = []
    for connection, (zero, now) in enumerate([(900.0, 10.0), (0.0, 14.0)]):
        clock.connect(paced=False)
        for step in range(10):
            # In the second connection the sender sets its clock, by an hour forth and then back.
            set_by = (0, 3600, 0)[step // 4] if connection else 0
            times.append(clock.since_first(clock.moment(zero + set_by + step / 10, now + step / 10)))
    assert (np.diff(times) >= 0).all()
    np.testing.assert_allclose(times, [*np.arange(10) / 10, *(4 + np.arange(10) / 10)], atol=0.01)


def test_stamps_in_disorder_do_not_turn_time_back() -> None:
    clock = StreamClock()
    clock.connect(paced=False)
    times = [clock.since_first(clock.moment(stamp, now)) for stamp, now in ((1.0, 5.0), (1.2, 5.2), (1.1, 5.3))]
    np.testing.assert_allclose(times, [0.0, 0.2, 0.2])


def test_each_connection_is_tied_to_the_clock_anew() -> None:
    clock = StreamClock()
    for now in (10.0, 11.5):
        clock.connect(paced=False)
        assert clock.moment(0.0, now) == now


def test_a_burst_is_paced_by_its_stamps() -> None:
    clock = StreamClock()
    clock.connect(paced=True)
    assert clock.moment(50.0, 1.0) == 1.0
    assert clock.moment(50.5, 1.01) == pytest.approx(1.5)
    assert clock.moment(3000.0, 1.5) == pytest.approx(1.5)  # another recording begins
    assert clock.moment(3000.1, 9.0) == pytest.approx(9.0)  # the burst came too late


def test_delays_grow_to_a_cap_and_differ() -> None:
    delays = [[Backoff().delay(tries, refused=False) for _ in range(50)] for tries in (1, 2, 40)]
    assert all(FIRST_DELAY_SECONDS / 2 <= delay <= FIRST_DELAY_SECONDS for delay in delays[0])
    assert all(FIRST_DELAY_SECONDS <= delay <= 2 * FIRST_DELAY_SECONDS for delay in delays[1])
    assert all(MAX_DELAY_SECONDS / 2 <= delay <= MAX_DELAY_SECONDS for delay in delays[2])
    assert len(set(delays[2])) > 40
    assert MAX_DELAY_SECONDS <= 0.5  # what the time to resume rests on, with the README's figure
    assert Backoff().delay(1, refused=True) >= REFUSED_DELAY_SECONDS / 2


def undecodable(count: int = 10**9) -> Iterator[Arrival | None]:
    """Packets that come and cannot be decoded."""
    for _ in range(count):
        yield None
        time.sleep(0.001)


def test_packets_that_never_decode_are_waited_for_as_long_as_was_asked() -> None:
    script = Script(undecodable, undecodable, undecodable)
    options = SourceOptions(stall_s=0.1, reconnects=2, wait=True)
    with LiveSource("camera", script, options=options, backoff=QUICK) as source:
        with pytest.raises(MaclipError, match="no picture that can be decoded") as caught:
            source.read(PATIENCE)
        assert caught.value.code == "source-lost"
    assert (script.opened, script.closed) == (3, 3)


def test_closing_releases_a_connection_that_never_decodes() -> None:
    script = Script(undecodable)
    source = LiveSource("camera undecoded", script, options=SourceOptions(wait=True))
    wait_for(lambda: "awaited" in source.status.problem)
    assert source.status.state is SourceState.CONNECTING
    source.close()
    wait_for(lambda: all(thread.name != "maclip camera undecoded" for thread in threading.enumerate()))
    assert script.closed == 1


def test_a_late_key_frame_is_waited_for_unless_patience_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default a first picture may take far longer than a later one; nobody gains from joining anew."""
    from maclip_runtime.sources import live, options

    monkeypatch.setattr(options, "STALL_SECONDS", 0.05)
    monkeypatch.setattr(live, "KEY_FRAME_SECONDS", PATIENCE)

    def late() -> Iterator[Arrival | None]:
        yield from undecodable(200)
        yield picture(1)

    script = Script(late)
    with LiveSource("camera", script, options=SourceOptions(reconnects=0)) as source:
        assert source.read(PATIENCE) is not None
    assert script.opened == 1
    with pytest.raises(MaclipError, match="no picture that can be decoded"):
        LiveSource("camera", Script(late, late, late), options=SourceOptions(stall_s=0.05, reconnects=0), backoff=QUICK)
