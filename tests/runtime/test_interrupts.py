"""Signals that wait for a safe place. Each is raised in a process of its own: a test runner has handlers too."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

BOTH = [signal.SIGINT, signal.SIGTERM]
BEFORE = """
import signal, sys, threading
from maclip_runtime.interrupts import deferred

number = int(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the shell said of Ctrl-C
before = signal.getsignal(number)

def raises() -> bool:
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        return True
    return False
"""
REMEMBERED = """
with deferred() as asked:
    assert not asked()
    assert not raises()
    assert asked()
    assert raises()
assert signal.getsignal(number) is before
"""
NOT_BEGUN = """
begun = []
with deferred(lambda: bool(begun)) as asked:
    assert raises()
    assert not asked()
    begun.append(True)
    assert not raises()
    assert asked()
"""
IGNORED = """
signal.signal(number, signal.SIG_IGN)
with deferred() as asked:
    assert not raises()
    assert not asked()
assert signal.getsignal(number) is signal.SIG_IGN
"""
ANOTHER_THREAD = """
seen = []

def run():
    with deferred() as asked:
        seen.append((asked(), signal.getsignal(number)))

thread = threading.Thread(target=run)
thread.start()
thread.join()
assert seen == [(False, before)]
"""


def ends_well(code: str, number: int) -> None:
    command = [sys.executable, "-c", f"{BEFORE}{code}print('done')", str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_is_remembered_and_the_second_raises(number: int) -> None:
    ends_well(REMEMBERED, number)


@pytest.mark.parametrize("number", BOTH)
def test_what_has_not_begun_is_interrupted_at_once(number: int) -> None:
    ends_well(NOT_BEGUN, number)


@pytest.mark.parametrize("number", BOTH)
def test_an_ignored_signal_stays_ignored(number: int) -> None:
    ends_well(IGNORED, number)


@pytest.mark.parametrize("number", BOTH)
def test_another_thread_changes_nothing(number: int) -> None:
    ends_well(ANOTHER_THREAD, number)
