"""Shares done by the workers of a Ray cluster. A share whose worker dies is taken over by another one."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from maclip_runtime.errors import EXIT_MACHINE_LACKS, EXIT_OUR_FAULT, MaclipError, first_line
from maclip_runtime.fleet.shares import Arriving, Job

LOCAL, AUTO = "local", "auto"
LOOPBACK = "127.0.0.2"  # of a cluster of this machine alone; Ray takes 127.0.0.1 for its address in the network
MAX_LOST = 4  # workers in a row by one share: it may be what ends them
SHARES_A_WORKER = 2  # handed out and not done: the next one is there when a worker is free
PARTS_AHEAD = 8  # of a share that wait to be taken; then its worker waits
JOIN_SECONDS = 5.0  # for a head to answer
LOOK_SECONDS = 1.0  # between looks whether the cluster is still there, where no part arrives
GONE_LOOKS = 3  # looks in a row without an answer after which it is not

Share = TypeVar("Share")
Part = TypeVar("Part")

log = logging.getLogger("maclip")


@contextmanager
def joined(address: str, *, threads: int = 1, gpu: bool = False) -> Iterator[Cluster]:
    """A cluster for as long as the block lasts; see `open_fleet`. A connection that the program has is used."""
    ray = _ray()
    if "://" in address or not address:
        raise MaclipError(
            "option-invalid", f"--ray {address!r} is not an address that can be joined.",
            "Give local, auto, or HOST:PORT of the head, on a machine of the cluster: ray start --address HOST:PORT.",
        )  # fmt: skip
    own = not ray.is_initialized()
    if own:
        _connect(ray, address)
        _silence()
    try:
        yield Cluster(ray, threads, gpu)
    finally:
        if own:
            _leave(ray)


def _ray() -> Any:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray 3 will do: GPUs are left as they are
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MaclipError(
            "fleet-missing", "Spreading work over workers needs Ray, which is not installed.",
            "pip install 'maclip[fleet]'", EXIT_MACHINE_LACKS,
        ) from error  # fmt: skip
    return ray


def _connect(ray: Any, address: str) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": False}
    before = signal.getsignal(signal.SIGTERM)
    try:
        if address == LOCAL:
            cores = os.cpu_count() if sys.platform != "linux" else len(os.sched_getaffinity(0))
            host = {"_node_ip_address": LOOPBACK} if sys.platform == "linux" else {}
            priority = {"_system_config": {"worker_niceness": 0}}  # as the command itself; Ray would lower it by 15
            ray.init(address=LOCAL, num_cpus=cores, include_dashboard=False, **host, **priority, **quiet)
        else:
            # Ray would try for minutes to reach a head that is not there.
            name, _, port = _head_of(address).rpartition(":")
            socket.create_connection((name, int(port)), timeout=JOIN_SECONDS).close()
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise MaclipError(
            "fleet-unreachable", f"The Ray cluster {address!r} cannot be joined ({first_line(error)}).",
            "Start one with `ray start --head`, join it on this machine with `ray start --address HOST:PORT`, or give "
            "--ray local.", EXIT_MACHINE_LACKS,
        ) from error  # fmt: skip
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's own ends the program at once


def _head_of(address: str) -> str:
    """HOST:PORT of a cluster's head. Raises ConnectionError where this machine is part of none."""
    from ray._private import services

    found: str | None = services.canonicalize_bootstrap_address(address)
    if found is None:
        raise ConnectionError("this machine is part of no cluster")
    return found


def _silence() -> None:
    """Keep Ray from printing on stdout, which is for results, what happens to workers; it has no option for that."""
    from ray._private import worker

    worker.print_worker_logs = lambda data, *_: log.debug("%s", data.get("lines"))


def _leave(ray: Any) -> None:
    """Disconnect, but do not wait for a cluster that no longer answers."""
    thread = threading.Thread(target=ray.shutdown, daemon=True)
    thread.start()
    thread.join(20.0)


@dataclass
class _Running(Generic[Share]):
    """A share that a worker does: its place, how many parts have arrived, and workers lost since the last of them."""

    place: int
    share: Share
    arrived: int = 0
    lost: int = 0


class Cluster:
    """A `Fleet` on a cluster that this process has joined.

    threads: processor cores that a share reserves.
    gpu: whether it reserves a GPU too.
    """

    def __init__(self, ray: Any, threads: int, gpu: bool) -> None:
        self._ray, self._threads = ray, threads
        options: dict[str, Any] = {"num_cpus": threads, "max_retries": 0, "scheduling_strategy": "SPREAD"}
        if gpu:
            options["num_gpus"] = 1
        self._parts = ray.remote(_parts).options(
            num_returns="streaming", _generator_backpressure_num_objects=PARTS_AHEAD, **options
        )
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self._head = (host, int(port))

    @property
    def workers(self) -> int:
        """How many shares can be done at once."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)) // self._threads)

    def spread(self, job: Job[Share, Part], shares: Iterable[Share]) -> Arriving[Part]:
        """See `Fleet.spread`."""
        key, packed = uuid.uuid4().hex, self._ray.put(job)
        fresh = (_Running(place, share) for place, share in enumerate(shares))
        again: deque[_Running[Share]] = deque()
        running: dict[Any, _Running[Share]] = {}
        limit = SHARES_A_WORKER * self.workers
        try:
            while True:
                while len(running) < limit and (one := again.popleft() if again else next(fresh, None)):
                    running[self._parts.remote(key, [packed], one.share, one.arrived)] = one
                if not running:
                    return
                for parts in self._ready(list(running)):
                    one = running[parts]
                    try:
                        part = self._ray.get(next(parts))
                    except StopIteration:
                        del running[parts]
                        yield one.place, None
                    except Exception as error:
                        del running[parts]
                        self._may_go_on(error, one)
                        again.append(one)
                        limit = SHARES_A_WORKER * self.workers
                    else:
                        one.arrived += 1
                        one.lost = 0
                        yield one.place, part
        finally:
            for parts in running:
                with suppress(Exception):
                    self._ray.cancel(parts, force=True)

    def _ready(self, running: list[Any]) -> list[Any]:
        """Those of which something has arrived. Raises `fleet-lost`."""
        gone = 0
        while True:
            ready, _ = self._ray.wait(running, num_returns=1, timeout=LOOK_SECONDS, fetch_local=False)
            if ready:
                return ready
            gone = 0 if self._answers() else gone + 1
            if gone == GONE_LOOKS:
                raise _lost("its head does not answer")

    def _answers(self) -> bool:
        try:
            socket.create_connection(self._head, timeout=LOOK_SECONDS).close()
        except OSError:
            time.sleep(LOOK_SECONDS)
            return False
        return True

    def _may_go_on(self, error: Exception, one: _Running[Any]) -> None:
        """Return if another worker may take over; else raise the job's own error, `share-failed` or `fleet-lost`."""
        errors = self._ray.exceptions
        if isinstance(error, errors.RayTaskError):
            raise error.cause if isinstance(error.cause, MaclipError) else error
        if not isinstance(error, errors.RayError):
            raise error
        if not self._answers():
            raise _lost(first_line(error)) from error
        one.lost += 1
        if one.lost == MAX_LOST:
            raise MaclipError(
                "share-failed",
                f"Share {one.place} ended each of the {MAX_LOST} workers that tried it ({first_line(error)}).",
                "See the logs of Ray on the workers: mostly they lack memory. What was finished is kept.",
                EXIT_OUR_FAULT,
            ) from error
        log.warning("a worker was lost (%s): another one takes over share %d", type(error).__name__, one.place)


def _lost(why: str) -> MaclipError:
    return MaclipError(
        "fleet-lost", f"The Ray cluster is gone: {why}.",
        "Start it again and repeat the command. An indexing goes on from where it was.", EXIT_MACHINE_LACKS,
    )  # fmt: skip


_jobs: dict[str, Any] = {}  # of this worker, by key: the last one


def _parts(key: str, packed: list[Any], share: Any, skip: int) -> Iterator[Any]:
    """Runs in a worker, which keeps the job for its next share."""
    import ray

    if key not in _jobs:
        _jobs.clear()
        _jobs[key] = ray.get(packed[0])
    for part in _jobs[key].parts(share, skip):  # noqa: UP028  Ray's `send` would fail: not all iterators have one
        yield part
