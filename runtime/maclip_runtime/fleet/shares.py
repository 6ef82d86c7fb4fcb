"""What is spread: a job, its shares, and the parts of each share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Protocol, TypeVar, cast

from maclip_runtime import values

Share = TypeVar("Share")
Part = TypeVar("Part")
ShareIn = TypeVar("ShareIn", contravariant=True)
PartOut = TypeVar("PartOut", covariant=True)
Arriving = Generator[tuple[int, Part | None], None, None]


class Job(Protocol[ShareIn, PartOut]):
    """Work on independent shares. It is sent to each worker once, so it can be pickled; its shares and parts too."""

    def parts(self, share: ShareIn, skip: int) -> Iterator[PartOut]:
        """The parts of a share without the first `skip`.

        Asked again, a share has the same parts in the same order: a worker that takes over from one that died is told
        how many have arrived, and need not compute them.
        """


class Fleet(Protocol):
    """Does the shares of a job."""

    def spread(self, job: Job[Share, Part], shares: Iterable[Share]) -> Arriving[Part]:
        """Every part of every share once, each with the place of its share, and None for a share that is done.

        The parts of a share come in order, shares in any. Closing the generator drops what is not done. Raises what
        the job raises, and `fleet-lost` and `share-failed` where a cluster does the work.
        """


class Here:
    """Does one share after the other in this process."""

    def spread(self, job: Job[Share, Part], shares: Iterable[Share]) -> Arriving[Part]:
        """See `Fleet.spread`; shares come in order."""
        for place, share in enumerate(shares):
            for part in job.parts(share, 0):
                yield place, part
            yield place, None


HERE = Here()


def checked(fleet: object) -> Fleet:
    """A fleet as a caller hands it in. Raises `option-invalid`."""
    if not callable(getattr(fleet, "spread", None)):
        raise values.refused(fleet, "fleet", "what `open_fleet` gives")
    return cast(Fleet, fleet)


def in_order(fleet: Fleet, job: Job[Share, Part], shares: Iterable[Share]) -> Iterator[Part]:
    """The parts of the first share, then those of the second, and so on; those that arrive early wait in memory."""
    early: defaultdict[int, list[Part]] = defaultdict(list)
    done: set[int] = set()
    now = 0
    with closing(fleet.spread(job, shares)) as arriving:
        for place, part in arriving:
            if part is None:
                done.add(place)
            elif place == now:
                yield part
            else:
                early[place].append(part)
            while now in done:
                now += 1
                yield from early.pop(now, [])


@contextmanager
def open_fleet(address: str | None, *, threads: int = 1, gpu: bool = False) -> Iterator[Fleet]:
    """The workers at an address of Ray; None: this process.

    Args:
        address: "local" starts a cluster on this machine for as long as the block lasts, "auto" joins the one that this
            machine is part of, HOST:PORT joins one by its head.
        threads: processor cores that a worker takes.
        gpu: whether a worker also takes a GPU.

    Raises `option-invalid`, `fleet-missing` without Ray, `fleet-unreachable`.
    """
    if address is None:
        yield HERE
        return
    from maclip_runtime.fleet.cluster import joined

    with joined(address, threads=threads, gpu=gpu) as fleet:
        yield fleet
