"""Signals that wait for a safe place."""

from __future__ import annotations

import signal
import threading

import pytest

from maclip_runtime.interrupts import deferred

BOTH = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_is_remembered_and_the_second_raises(number: int) -> None:
    before = signal.getsignal(number)
    with deferred() as asked:
        assert not asked()
        signal.raise_signal(number)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_what_has_not_begun_is_interrupted_at_once() -> None:
    begun: list[bool] = []
    with deferred(lambda: bool(begun)) as asked:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        begun.append(True)
        signal.raise_signal(signal.SIGTERM)
        assert asked()


@pytest.mark.parametrize("number", BOTH)
def test_an_ignored_signal_stays_ignored(number: int) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with deferred() as asked:
            signal.raise_signal(number)
            assert not asked()
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_another_thread_changes_nothing() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def run() -> None:
        with deferred() as asked:
            seen.append((asked(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
