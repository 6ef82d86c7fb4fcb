"""Prometheus metrics over HTTP: `maclip_...` by source, stage, label and sink, and those of the process."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from maclip_runtime.callbacks import Callbacks
from maclip_runtime.decisions import Event, Verdict
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.sources import Frame, SourceState, SourceStatus
from maclip_runtime.telemetry.latency import AnswerTimes
from maclip_runtime.telemetry.status import Outlet

if TYPE_CHECKING:
    from maclip_runtime.gallery import Gallery

log = logging.getLogger("maclip")

LOCALHOST = "127.0.0.1"
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # s


class Metrics(Callbacks):
    """Serves metrics over HTTP, at `url`.

    address: PORT (on 127.0.0.1) or HOST:PORT; port 0 takes a free one.
    outlets: sinks and overlays whose losses are counted.
    gallery: the gallery whose classes are counted.

    Raises `metrics-missing` where prometheus-client is not installed, `address-invalid`, `address-taken`.
    """

    def __init__(self, address: str, outlets: Sequence[Outlet] = (), gallery: Gallery | None = None) -> None:
        host, port = parse_address(address)
        prometheus = _import_prometheus()
        self._outlets = outlets
        self._gallery = gallery
        self._classes: tuple[tuple[int, ...], int] = (), 0  # the gallery's version, and its number of classes
        self._lock = threading.Lock()
        self._sources: dict[str, _Source] = {}
        self._times = AnswerTimes()
        registry = prometheus.CollectorRegistry()
        made: dict[str, Any] = {"registry": registry, "namespace": "maclip"}
        self._stages = prometheus.Histogram(
            "stage_seconds", "Duration of one step.", ["stage"], buckets=BUCKETS, **made
        )
        self._latency = prometheus.Histogram(
            "answer_latency_seconds", "Time from the newest frame to the answer.", ["source"], buckets=BUCKETS, **made
        )
        self._answers = prometheus.Counter("answers", "Windows answered.", ["source", "label"], **made)
        self._events = prometheus.Counter("events", "Events.", ["source", "kind", "label"], **made)
        registry.register(self)
        prometheus.ProcessCollector(registry=registry)
        try:
            self._server, self._thread = prometheus.start_http_server(port, host, registry)
        except (OSError, OverflowError) as error:
            raise MaclipError(
                "address-taken",
                f"Metrics cannot be served at {address} ({getattr(error, 'strerror', None) or error}).",
                "Give another HOST:PORT to --metrics.",
            ) from error
        self.url = f"http://{host}:{self._server.server_port}/metrics"
        log.info("metrics: %s", self.url)

    def __enter__(self) -> Metrics:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving. Closing twice does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def frame(self, source: str, frame: Frame) -> None:
        """Note the time of a frame."""
        self._times.taken(source)
        self._source(source).frame_at = time.time()

    def verdict(self, source: str, verdict: Verdict, start_s: float, end_s: float) -> None:
        """Count an answer, and record its latency."""
        self._answers.labels(*_labels(source, verdict.label)).inc()
        seconds = self._times.answered(source)
        if seconds is not None:
            self._latency.labels(*_labels(source)).observe(seconds)

    def event(self, event: Event) -> None:
        """Count an event; the end of one that is withdrawn as "withdrawn"."""
        kind = "withdrawn" if event.withdrawn and event.kind == "end" else event.kind
        self._events.labels(*_labels(event.source, kind, event.label)).inc()

    def status(self, status: SourceStatus) -> None:
        """Keep the source's last status."""
        source = self._source(status.name)
        source.status, source.status_at = status, time.time()

    def timing(self, stage: str, seconds: float) -> None:
        """Record the duration of a step."""
        self._stages.labels(stage).observe(seconds)

    def collect(self) -> Iterator[Any]:
        """The metrics that are read at each scrape; called by Prometheus's registry."""
        yield from self._source_families()
        yield from self._outlet_families()
        if self._gallery is not None:
            core = _import_prometheus().core
            yield core.GaugeMetricFamily("maclip_gallery_classes", "Enrolled classes.", self._class_count())

    def _source(self, name: str) -> _Source:
        with self._lock:
            return self._sources.setdefault(name, _Source())

    def _source_families(self) -> Iterator[Any]:
        core = _import_prometheus().core
        gauge, counter = core.GaugeMetricFamily, core.CounterMetricFamily
        label = ["source"]
        state = gauge("maclip_source_state", "1 for the state a source is in.", labels=["source", "state"])
        reported = gauge(
            "maclip_source_report_timestamp_seconds", "When the source last reported (Unix).", labels=label
        )
        seen = gauge("maclip_source_frame_timestamp_seconds", "When the last frame came (Unix).", labels=label)
        rate = gauge("maclip_source_frame_rate", "Recent frames per second.", labels=label)
        frames = counter("maclip_source_frames", "Frames taken.", labels=label)
        dropped = counter("maclip_source_dropped_frames", "Frames dropped for a newer one.", labels=label)
        reconnects = counter("maclip_source_reconnects", "Times a source came back.", labels=label)
        with self._lock:
            sources = [(_labels(name)[0], source) for name, source in self._sources.items()]
        for name, source in sources:
            if source.frame_at:
                seen.add_metric([name], source.frame_at)
            if (status := source.status) is None:
                continue
            for one in SourceState:
                state.add_metric([name, one.value], float(status.state is one))
            reported.add_metric([name], source.status_at)
            rate.add_metric([name], status.rate)
            frames.add_metric([name], status.frames)
            dropped.add_metric([name], status.dropped)
            reconnects.add_metric([name], status.reconnects)
        yield from (state, reported, seen, rate, frames, dropped, reconnects)

    def _outlet_families(self) -> Iterator[Any]:
        core = _import_prometheus().core
        dropped = core.CounterMetricFamily("maclip_sink_dropped", "Events or frames lost.", labels=["sink"])
        delivered = core.CounterMetricFamily("maclip_sink_delivered", "Events delivered.", labels=["sink"])
        waiting = core.GaugeMetricFamily("maclip_sink_waiting", "Events not delivered yet.", labels=["sink"])
        for outlet in self._outlets:
            name = _labels(outlet.name)
            dropped.add_metric(name, outlet.dropped)
            if hasattr(outlet, "delivered"):
                delivered.add_metric(name, outlet.delivered)
            if hasattr(outlet, "waiting"):
                waiting.add_metric(name, outlet.waiting)
        yield from (dropped, delivered, waiting)

    def _class_count(self) -> float:
        """The number of classes in the gallery, cached until it changes; NaN while it cannot be read."""
        assert self._gallery is not None
        try:
            version = self._gallery.version
            if version != self._classes[0]:
                self._classes = version, len(self._gallery.classes())
        except MaclipError:
            return float("nan")
        return self._classes[1]


class _Source:
    """The last report of a source; times are Unix seconds."""

    def __init__(self) -> None:
        self.status: SourceStatus | None = None
        self.status_at = 0.0
        self.frame_at = 0.0


def parse_address(address: str) -> tuple[str, int]:
    """PORT or HOST:PORT as host and port. Raises `address-invalid`.

    >>> parse_address("9100"), parse_address("0.0.0.0:9100")
    (('127.0.0.1', 9100), ('0.0.0.0', 9100))
    """
    host, _, port = address.rpartition(":")
    if not port.isascii() or not port.isdecimal() or int(port) > 65535 or (":" in address and not host):
        raise MaclipError("address-invalid", f"{address!r} is not PORT or HOST:PORT.", "Write 9100 or 0.0.0.0:9100.")
    return host.strip("[]") or LOCALHOST, int(port)


def _labels(*values: str) -> list[str]:
    """Values of labels in UTF-8, as Prometheus requires: a file's name may be none."""
    return [value.encode("utf-8", "replace").decode() for value in values]


def _import_prometheus() -> Any:
    try:
        import prometheus_client
        import prometheus_client.core
    except ImportError as error:
        raise MaclipError(
            "metrics-missing",
            "Metrics need prometheus-client, which is not installed.",
            "Install it: pip install 'maclip[metrics]'.",
            EXIT_MACHINE_LACKS,
        ) from error
    return prometheus_client
