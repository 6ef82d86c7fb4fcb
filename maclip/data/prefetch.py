"""Prefetching: run jobs in threads before their results are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def prefetch(work: Callable[[In], Out], jobs: Iterable[In], threads: int) -> Iterator[Out]:
    """`work(job)` of each of `jobs`, in order. `threads` threads run up to `threads` + 1 jobs in advance.

    Threads are enough: decoding releases the GIL.
    """
    with ThreadPoolExecutor(threads) as pool:
        remaining = iter(jobs)
        pending = [pool.submit(work, job) for job in islice(remaining, threads + 1)]
        try:
            while pending:
                result = pending.pop(0).result()
                pending.extend(pool.submit(work, job) for job in islice(remaining, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()
