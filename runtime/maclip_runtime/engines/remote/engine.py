"""The engine that runs the network on a server, and on the machine's own engine while the server is away."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from typing import Any

import numpy as np

from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.bundle.served import served_graphs
from maclip_runtime.engines.base import Array, Engine
from maclip_runtime.engines.pieces import sizes_of
from maclip_runtime.engines.remote.address import parse_address
from maclip_runtime.engines.remote.client import ABSENT, RemoteClient
from maclip_runtime.engines.remote.way import NEW_SHARE, LinkMeter, loads_of, sends_tokens
from maclip_runtime.errors import MaclipError

MAX_IN_FLIGHT = 4  # requests of one client: more would wait at the server, and answer for a past that nobody asks for
RETRIES = 1  # of a step whose connection broke, within its time
PAUSE_SECONDS = 0.05  # before it
CHECK_SECONDS = 60.0  # after which the server's models are looked at again: it may serve another bundle now
FIRST_PROBE_SECONDS, MAX_PROBE_SECONDS = 0.5, 30.0  # between attempts while the server is away
CALM_SECONDS = 60.0  # a server that goes away sooner again after the last time is tried more rarely

log = logging.getLogger("maclip")


class Pause:
    """How long to wait before a server that went away is tried: a server that is too slow answers every trial."""

    def __init__(self) -> None:
        self._lost_at = -math.inf
        self._seconds = 0.0

    def after_loss(self, now: float) -> float:
        """The pause after a loss at `now`, in seconds of any clock; twice the last one where that was not long ago."""
        again = now - self._lost_at < CALM_SECONDS
        self._lost_at = now
        self._seconds = min(2 * self._seconds, MAX_PROBE_SECONDS) if again else FIRST_PROBE_SECONDS
        return self._seconds


class RemoteEngine:
    """Runs stem and tower of a bundle on a server, everything else (prototypes, matching, names) on the machine.

    bundle: an opened bundle; the server has the models that `maclip export --triton` wrote for it.
    device: `triton:grpc://HOST:PORT`, or `triton:grpcs://` over TLS; ?timeout=SECONDS may follow.
    allow_absent: begin with the machine's own engine where the server cannot be reached.
    threads: of the machine's own engine, which is what "auto" means.

    A step that is not answered in time, or whose connection breaks twice, runs on the own engine, and so do all others
    until the server answers again; a thread looks for it. Both are logged once. Late answers are dropped.

    Raises at the start `device-unknown` for an address that is none, `device-missing`, `token-invalid`,
    `remote-insecure`, what `RemoteClient.check` raises (`remote-*`), and what the own engine raises.
    """

    def __init__(self, bundle: Bundle, device: str, *, allow_absent: bool = False, threads: int | None = None) -> None:
        from maclip_runtime.engines.opening import open_engine  # which opens this one

        address = parse_address(device)
        self.device = device
        self._bundle = bundle
        self._specs = served_graphs(bundle.manifest)
        self._client = RemoteClient(address, bundle.manifest)
        self._state = threading.Lock()
        self._closing = threading.Event()
        self._served: frozenset[str] = frozenset()  # graphs that the server runs; none while it is away
        self._checked_at = 0.0
        self._loads = loads_of(bundle.manifest)
        self._tokens = False  # whether tokens are sent where frames could be
        self._stem_s: float | None = None  # what the own stem takes for the frames of a window; measured once
        self._meter = LinkMeter()
        self._slots = threading.BoundedSemaphore(MAX_IN_FLIGHT)
        self._probe: threading.Thread | None = None
        self._pause = Pause()
        self._own: Engine | None = None
        try:
            self._own = open_engine(bundle, "auto", allow_fallback=True, threads=threads)
            self._look()
        except MaclipError as error:
            if self._own is None or not allow_absent or error.code not in ABSENT:
                self.close()
                raise
            self._away(error)
        except BaseException:
            self.close()
            raise

    @property
    def takes_windows(self) -> bool:
        """Whether whole windows of frames are sent now: the server is there, and tokens are not sooner (`way`)."""
        served = self._served
        return "visual" in served and not (self._tokens and "tower" in served)

    @property
    def served(self) -> frozenset[str]:
        """The graphs that run on the server now: stem and tower together are "visual"."""
        return self._served

    @property
    def own_device(self) -> str:
        """The --device value of the machine's own engine."""
        return self._own.device if self._own is not None else "none"

    @property
    def is_away(self) -> bool:
        """Whether the machine's own engine runs the network, because the server does not answer."""
        return not self._served

    def run(self, graph: str, **inputs: Array) -> tuple[Array, ...]:
        """Run one graph on named inputs with the manifest's shapes and dtypes; returns its outputs in order.

        Raises what the machine's own engine raises.
        """
        if graph in self._served and time.monotonic() - self._checked_at > CHECK_SECONDS:
            self._look_again()
        if graph in self._served:
            try:
                return self._remote(graph, inputs)
            except MaclipError as error:
                self._away(error)
        return self._locally(graph, inputs)

    def close(self) -> None:
        """Close the connection and free the own engine's graphs. Closing twice does nothing."""
        self._closing.set()
        self._served = frozenset()
        self._client.close()
        if self._probe is not None and self._probe is not threading.current_thread():
            self._probe.join(self._client.address.timeout_s)
        if self._own is not None:
            self._own.close()

    def _remote(self, graph: str, inputs: dict[str, Array]) -> tuple[Array, ...]:
        """A run on the server, tried twice within the step's time. Raises `remote-*`."""
        sizes_of(self._specs[graph], inputs)
        deadline = time.monotonic() + self._client.address.timeout_s
        for attempt in range(RETRIES + 1):
            begun = time.perf_counter()
            try:
                outputs = self._rows(graph, inputs, deadline)
            except MaclipError as error:
                late = deadline - time.monotonic() <= PAUSE_SECONDS
                if error.code != "remote-unreachable" or attempt == RETRIES or late or self._closing.is_set():
                    raise
                log.debug("device: %s", error.message)
                self._closing.wait(PAUSE_SECONDS)
                continue
            self._measured(graph, sum(array.nbytes for array in inputs.values()), time.perf_counter() - begun)
            return outputs
        raise AssertionError("unreachable")

    def _rows(self, graph: str, inputs: dict[str, Array], deadline: float) -> tuple[Array, ...]:
        """Each row is a request, a few at a time: the server batches them with those of other clients."""
        rows = len(next(iter(inputs.values())))
        going: deque[Any] = deque()
        answers: list[tuple[Array, ...]] = []
        try:
            for row in range(rows):
                if len(going) == MAX_IN_FLIGHT:
                    answers.append(self._answer(graph, going.popleft()))
                left = deadline - time.monotonic()
                if not self._slots.acquire(timeout=max(0.0, left)):
                    raise self._client.late()
                try:
                    future = self._client.start(
                        graph, {k: a[row : row + 1] for k, a in inputs.items()}, max(left, 0.001)
                    )
                except BaseException:
                    self._slots.release()
                    raise
                future.add_done_callback(lambda _: self._slots.release())
                going.append(future)
            answers += [self._answer(graph, future) for future in going]
        except BaseException:
            for future in going:  # late answers are not waited for, and the server need not finish them
                future.cancel()
            raise
        return tuple(np.concatenate(parts) for parts in zip(*answers, strict=True))

    def _answer(self, graph: str, future: Any) -> tuple[Array, ...]:
        return self._client.finish(graph, 1, future)

    def _locally(self, graph: str, inputs: dict[str, Array]) -> tuple[Array, ...]:
        assert self._own is not None
        if graph == "visual" and graph not in self._bundle.manifest.graphs:
            frames = inputs.pop("frames")
            (tokens,) = self._own.run("stem", frames=frames.reshape(-1, *frames.shape[2:]))
            tokens = tokens.reshape(*frames.shape[:2], *tokens.shape[1:])  # (B T, N+1, D) -> (B, T, N+1, D)
            return self._own.run("tower", tokens=tokens, **inputs)
        return self._own.run(graph, **inputs)

    def _look(self) -> None:
        """Check the server and use it. Raises what `RemoteClient.check` raises."""
        served, trip_s = self._client.check()
        self._meter.trip(trip_s)
        self._checked_at = time.monotonic()
        self._decide(served)
        if not self._closing.is_set():
            self._served = served

    def _look_again(self) -> None:
        """Check that the models are still the bundle's, and decide anew what is sent."""
        served = self._served
        try:
            for graph in sorted(served):
                self._client.require_ours(graph)
        except MaclipError as error:
            self._away(error)
            return
        self._checked_at = time.monotonic()
        self._decide(served)

    def _measured(self, graph: str, sent: int, seconds: float) -> None:
        """Take a run into account; after the first few it is known what the server itself needs of it."""
        if self._loads is None:
            return
        known = self._meter.bytes_a_second is not None
        self._meter.request(sent, seconds)
        if not known and self._meter.bytes_a_second is not None:
            self._meter.server_s = self._client.seconds_on_server(graph)
            self._decide(self._served)

    def _decide(self, served: frozenset[str]) -> None:
        """Frames or tokens, by `sends_tokens`, where the server takes both and the bandwidth is known."""
        loads, speed = self._loads, self._meter.bytes_a_second
        if loads is None or speed is None or not {"visual", "tower"} <= served or loads.tokens >= loads.frames:
            return
        if self._stem_s is None:
            self._stem_s = self._stem_seconds()
        stem_s = self._stem_s
        tokens = sends_tokens(loads, speed, stem_s)
        if tokens != self._tokens:
            log.info(
                "device: %s are sent from now on (%.1f MB/s, own stem %.0f ms a window)",
                "tokens" if tokens else "frames", speed / 1e6, stem_s * 1e3,
            )  # fmt: skip
        self._tokens = tokens

    def _stem_seconds(self) -> float:
        """What the machine's own stem takes for the frames that a window brings; the second run counts."""
        assert self._own is not None
        frames, size = max(1, self._bundle.manifest.frames // NEW_SHARE), self._bundle.manifest.preprocess.size
        for _ in range(2):
            begun = time.perf_counter()
            self._own.run("stem", frames=np.zeros((frames, size, size, 3), np.uint8))
        return time.perf_counter() - begun

    def _away(self, error: MaclipError) -> None:
        """From now on the machine's own engine; a thread looks for the server."""
        with self._state:
            self._served = frozenset()
            if self._closing.is_set() or (self._probe is not None and self._probe.is_alive()):
                return
            log.warning(
                "device: %s Until it answers again the network runs on %s.",
                error.message, self.own_device,
            )  # fmt: skip
            pause_s = self._pause.after_loss(time.monotonic())
            self._probe = threading.Thread(target=self._wait_for_it, args=(error.code, pause_s), daemon=True)
            self._probe.start()

    def _wait_for_it(self, code: str, pause_s: float) -> None:
        while not self._closing.wait(pause_s):
            pause_s = min(2 * pause_s, MAX_PROBE_SECONDS)
            try:
                served, trip_s = self._client.check()
            except MaclipError as error:
                if error.code != code:  # it is there, but not as it was
                    log.warning("device: %s", error.message)
                code = error.code
                continue
            except ValueError:  # the channel was closed meanwhile
                return
            self._meter = LinkMeter()  # it may be another network now
            self._meter.trip(trip_s)
            with self._state:
                if self._closing.is_set():
                    return
                self._checked_at, self._served, self._probe = time.monotonic(), served, None
            log.warning("device: the server %s answers again and runs the network.", self._client.address.target)
            return
