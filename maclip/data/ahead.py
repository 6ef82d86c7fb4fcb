"""Work done in threads a little ahead of whoever takes its results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def ahead(work: Callable[[In], Out], jobs: Iterable[In], threads: int) -> Iterator[Out]:
    """`work` over `jobs` in order, computed in threads a little ahead: decoding does not hold Python's lock."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = iter(jobs)
        pending = [pool.submit(work, job) for job in islice(waiting, threads + 1)]
        try:
            while pending:
                result = pending.pop(0).result()
                pending.extend(pool.submit(work, job) for job in islice(waiting, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()
