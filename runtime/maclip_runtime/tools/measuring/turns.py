"""Repeating work: in turns over several subjects, or one for some seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar

from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.measuring.child import Child, ChildFailed

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")
WARM_RUNS = 3


def seconds_of(work: Callable[[], object]) -> float:
    """How long one call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def take_turns(subjects: Mapping[Key, Callable[[], Result]], rounds: int) -> dict[Key, list[Result]]:
    """Call all `subjects` one after the other, `rounds` times: what disturbs the machine disturbs all alike."""
    results: dict[Key, list[Result]] = {key: [] for key in subjects}
    for _ in range(rounds):
        for key, work in subjects.items():
            results[key].append(work())
    return results


def repeat(work: Callable[[], object], seconds: float, *, min_runs: int, warm_runs: int = WARM_RUNS) -> list[float]:
    """Seconds of each call of `work`, for so many seconds and at least `min_runs` calls; `warm_runs` come before."""
    for _ in range(warm_runs):
        work()
    took: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(took) < min_runs:
        took.append(seconds_of(work))
    return took


class Subject:
    """One of several things that are measured in turns, each in a child of its own.

    Where its child fails, `failed` says why and the others are measured on. `answers` holds what came of each turn, by
    what was asked. tolerates: which errors of the child's own are such a failure (default: all); others are raised.
    """

    def __init__(self, name: str, tolerates: Callable[[MaclipError], bool] = lambda error: True) -> None:
        self.name = name
        self.failed: str | None = None
        self.answers: dict[str, list[Any]] = {}
        self._tolerates = tolerates
        self._child: Child | None = None

    @property
    def facts(self) -> Any:
        """What the child sent when it was ready; None where it failed to start."""
        return self._child.facts if self._child is not None else None

    def start(self, stack: ExitStack, body: Callable[..., object], *arguments: Any) -> None:
        """Start `Child(body, *arguments)`, which `stack` closes."""
        try:
            self._child = stack.enter_context(Child(body, *arguments))
        except MaclipError as error:
            self._fail(error)

    def turn(self, work: str) -> None:
        """Ask the child, unless it failed before."""
        if self._child is None or self.failed is not None:
            return
        try:
            self.answers.setdefault(work, []).append(self._child.turn(work))
        except MaclipError as error:
            self._fail(error)

    def _fail(self, error: MaclipError) -> None:
        if isinstance(error, ChildFailed):
            self.failed = error.why
        elif self._tolerates(error):
            self.failed = error.message
        else:
            raise error
